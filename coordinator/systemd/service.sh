# shellcheck shell=bash
# The command `coordinator` of install.sh: the coordinator as a systemd service.
#
# Owns: the unit moonfleet.service, its data folder and the link to the command `moonfleet`. Must
# not know the coordinator's own settings, but the one that opens the network. Sourced by install.sh after host.sh, whose refuse_root, bad_option and ROOT it uses.

UNIT_NAME=moonfleet.service
CONFIG_CHANGED=0

usage_coordinator() {
    cat <<'TEXT'
usage: ./install.sh coordinator [options]

Sets up the coordinator's Python environment and a broker (mosquitto), and runs the coordinator
as the systemd service moonfleet.service, as the user who calls this.

  --data-dir DIR   where the farm's database and files are kept (~/.local/share/moonfleet,
                   as for `python -m coordinator serve`)
  --network        open the doors for other computers (HTTPS and MQTT over TLS, ports 8443 and
                   8883), in moonfleet.toml of the data folder
  --no-restart     write the unit, but neither enable nor start it
  --root DIR       treat DIR as the root folder; installs no package, starts nothing
  --dry-run        say what would be changed, change nothing
TEXT
}

command_coordinator() {
    local data=$HOME/.local/share/moonfleet network=0
    while [ $# -gt 0 ]; do
        case $1 in
            --no-restart) RESTART=0 ;;
            --network) network=1 ;;
            --data-dir | --root)
                [ $# -ge 2 ] || bad_option coordinator "$1 needs a value"
                if [ "$1" = --root ]; then ROOT=$(readlink -m "$2"); else data=$(readlink -m "$2"); fi
                shift
                ;;
            *) bad_option coordinator "unknown option: $1" ;;
        esac
        shift
    done
    refuse_root coordinator
    if [ "$RESTART" = 1 ] && [ -z "$ROOT" ] && ! systemd_runs; then
        fail 2 'systemd does not run here; --no-restart only writes the unit'
    fi
    check_unit_path "$REPO"
    check_unit_path "$data"
    if [ -z "$ROOT" ]; then
        need_packages mosquitto python3-venv
        lock_setup
        setup_product
        unlock_setup
    fi
    make_data_dir "$(rooted "$data")"
    [ "$network" = 0 ] || open_network "$(rooted "$data")/moonfleet.toml"
    install_unit "$data"
    link_command
    report_end
    [ "$DRY_RUN" = 1 ] || tell_coordinator_next
}

# The command's place is where Debian's own ~/.profile looks for a person's programs.
command_link() { rooted "$HOME/.local/bin/moonfleet"; }

command_program() { printf '%s/moonfleet/bin/moonfleet' "$VENVS"; }

link_command() {
    local link
    link=$(command_link)
    if [ -e "$link" ] && [ ! -L "$link" ]; then
        say "left alone: $link is not Moonfleet's; the command is $(command_program)"
        return
    fi
    [ "$(readlink "$link" || true)" != "$(command_program)" ] || return 0
    change "link $link -> $(command_program)" make_command_link "$link"
}

make_command_link() {
    mkdir -p "${1%/*}"
    ln -sfn "$(command_program)" "$1"
}

remove_command() {
    if [ "$(readlink "$(command_link)" || true)" = "$(command_program)" ]; then
        remove_file "$(command_link)"
    fi
}

tell_coordinator_next() {
    say 'next:'
    printf '  1. systemctl status moonfleet      shows that it runs; http://127.0.0.1:8008/ is its page\n'
    printf '  2. moonfleet setup                 makes the first user, an admin\n'
    printf '  3. moonfleet pair                  shows the command for the host of a printer, with a code\n'
    case :$PATH: in
        *":$HOME/.local/bin:"*) ;;
        *) printf '  (moonfleet is %s; it is on PATH after the next login)\n' "$(command_program)" ;;
    esac
}

# A unit splits at spaces and expands %; no such path has been asked for, so none is escaped.
check_unit_path() {
    [[ $1 =~ ^[A-Za-z0-9/._@+-]+$ ]] || fail 2 "a service needs a path of [A-Za-z0-9/._@+-], not $1"
}

make_data_dir() {
    [ -d "$1" ] || change "make $1" install -d -m 700 "$1"
}

# open_network FILE: a [network] that a person wrote stays as it is.
open_network() {
    if grep -qs '^ *\[ *network *\]\|^ *network *[.=]' "$1"; then
        say "left alone: $1 has a [network] section; its address decides what is open"
        return
    fi
    change "open the network in $1" append_network "$1"
    CONFIG_CHANGED=1
}

append_network() {
    local text='[network]
address = "0.0.0.0"'
    if [ -f "$1" ]; then
        text=$(<"$1")$'\n\n'$text
    fi
    # Other options may be passwords.
    write_file "$1" 600 "$text" >/dev/null
}

unit_text() {
    local text
    text=$(<"$REPO/coordinator/systemd/moonfleet.service.in")
    text=${text//@REPO@/"$REPO"}
    text=${text//@USER@/"$(id -un)"}
    text=${text//@PYTHON@/"$(venv_python moonfleet)"}
    printf '%s\n' "${text//@DATA_DIR@/"$1"}"
}

install_unit() {
    local path=$ROOT/etc/systemd/system/$UNIT_NAME draft
    draft=$(mktemp -d)
    unit_text "$1" >"$draft/$UNIT_NAME"
    if [ "$DRY_RUN" = 0 ] && has systemd-analyze; then
        systemd-analyze verify "$draft/$UNIT_NAME" || fail 1 "systemd refuses the unit $draft/$UNIT_NAME"
    fi
    if ! cmp -s "$draft/$UNIT_NAME" "$path"; then
        change "write $path" for_system install -D -m 644 "$draft/$UNIT_NAME" "$path"
        if [ "$RESTART" = 1 ] && [ -z "$ROOT" ]; then
            change "start $UNIT_NAME" start_unit
        fi
    elif [ "$CONFIG_CHANGED$RESTART" = 11 ] && [ -z "$ROOT" ]; then
        change "restart $UNIT_NAME" sudo systemctl restart "$UNIT_NAME"
    fi
    rm -rf "$draft"
}

start_unit() {
    sudo systemctl daemon-reload
    sudo systemctl enable "$UNIT_NAME"
    sudo systemctl restart "$UNIT_NAME"
}

# Under --root the files are the caller's own.
for_system() { if [ -n "$ROOT" ]; then "$@"; else sudo "$@"; fi; }

# remove_service: part of `uninstall`; the data folder stays.
remove_service() {
    local path=$ROOT/etc/systemd/system/$UNIT_NAME live=0
    if [ -z "$ROOT" ] && systemd_runs; then live=1; fi
    remove_command
    [ -e "$path" ] || return 0
    if [ "$live" = 1 ]; then
        change "stop $UNIT_NAME" sudo systemctl disable --now "$UNIT_NAME"
    fi
    change "remove $path" for_system rm -f "$path"
    if [ "$live" = 1 ]; then
        change 'systemctl daemon-reload' sudo systemctl daemon-reload
    fi
}

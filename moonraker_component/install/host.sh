# shellcheck shell=bash
# The command `host` of install.sh: Moonfleet's component in a Moonraker, and its section in the
# Klipper beside it.
#
# Owns: what is put where, and in which order (a configuration is included last, when all it
# needs is there). Must not know how instances are found (instances.sh), how a file is changed
# (files.sh) or what moonfleet.conf says (conf.sh). Sourced by install.sh.

# shellcheck source=moonraker_component/install/instances.sh
. "$REPO/moonraker_component/install/instances.sh"
# shellcheck source=moonraker_component/install/files.sh
. "$REPO/moonraker_component/install/files.sh"
# shellcheck source=moonraker_component/install/conf.sh
. "$REPO/moonraker_component/install/conf.sh"
# shellcheck source=moonraker_component/install/pairing.sh
. "$REPO/moonraker_component/install/pairing.sh"
# shellcheck source=moonraker_component/install/next_steps.sh
. "$REPO/moonraker_component/install/next_steps.sh"
# shellcheck source=moonraker_component/install/uninstall.sh
. "$REPO/moonraker_component/install/uninstall.sh"

INSTALL_DIR=$REPO/moonraker_component/install
RESTART=1
WITH_KLIPPER=1
OPTION_INSTANCE='' OPTION_DATA='' OPTION_MOONRAKER='' OPTION_KLIPPER='' OPTION_ENV=''

usage_host() {
    cat <<'TEXT'
usage: ./install.sh host [options]

Puts the component [moonfleet] into every Moonraker of this machine, and the section [moonfleet]
into its Klipper. Run it again after changing anything: what is so already stays as it is.

  --instance NAME            only this one: its data folder (printer_1_data) or its unit's
                             suffix (1)
  --coordinator URL          the farm, as `moonfleet pair` shows it: https://farm.local:8443
  --code CODE                the pairing code, good for 15 minutes and for one host; brings
                             everything of the broker, also for a host that was there before
  --printer-id ID            name of the printer in the farm ([A-Za-z0-9_-], at most 64)

Without a code, for a broker of your own:

  --mqtt-host HOST           the farm's broker; needed the first time
  --mqtt-port PORT           1883, or 8883 with TLS
  --mqtt-user NAME           the printer id, when not given
  --mqtt-password-file FILE  one line; needed the first time
  --mqtt-tls-ca FILE         the certificate authority that signed the broker's certificate
  --mqtt-tls                 a public one signed it. One of the two is needed for a broker on
                             another computer

Where things are:

  --data-dir DIR             an instance without a systemd unit (needs --moonraker-dir)
  --moonraker-dir DIR        Moonraker's checkout, when no unit tells
  --moonraker-env DIR        Moonraker's virtual environment, when no unit tells
  --klipper-dir DIR          Klipper's or Kalico's checkout, when no unit tells
  --no-klipper               leave Klipper alone: no deadline for starts, no fence
  --no-restart               do not restart the services that were changed
  --root DIR                 treat DIR as the root folder; restarts nothing
  --dry-run                  say what would be changed, change nothing

MOONFLEET_COORDINATOR, MOONFLEET_CODE, MOONFLEET_PRINTER_ID, MOONFLEET_MQTT_HOST, _PORT, _USER,
_PASSWORD and _TLS_CA in the environment serve as well.
TEXT
}

refuse_root() {
    [ "$(id -u)" != 0 ] || fail 1 "$1: run this as the user whose service it is, not as root"
}

# --- options --------------------------------------------------------------------------

# parse_host COMMAND OPTIONS...: fills the OPTION_ and MQTT_ values.
parse_host() {
    local command=$1 value password_file=''
    shift
    while [ $# -gt 0 ]; do
        case $1 in
            --no-restart) RESTART=0 ;;
            --no-klipper) WITH_KLIPPER=0 ;;
            --mqtt-tls) MQTT_TLS=True ;;
            --*)
                [ $# -ge 2 ] || bad_option "$command" "$1 needs a value, or is unknown"
                value=$2
                case $1 in
                    --instance) OPTION_INSTANCE=$value ;;
                    --data-dir) OPTION_DATA=$value ;;
                    --moonraker-dir) OPTION_MOONRAKER=$value ;;
                    --moonraker-env) OPTION_ENV=$value ;;
                    --klipper-dir) OPTION_KLIPPER=$value ;;
                    --root) ROOT=$(readlink -m "$value") ;;
                    --printer-id) PRINTER_ID=$value ;;
                    --coordinator) COORDINATOR=$value ;;
                    --code) PAIRING_CODE=$value ;;
                    --mqtt-host) MQTT_ADDRESS=$value ;;
                    --mqtt-port) MQTT_PORT=$value ;;
                    --mqtt-user) MQTT_USERNAME=$value ;;
                    --mqtt-password-file) password_file=$value ;;
                    --mqtt-tls-ca) MQTT_TLS_CA=$value ;;
                    *) bad_option "$command" "unknown option: $1" ;;
                esac
                shift
                ;;
            *) bad_option "$command" "unknown argument: $1" ;;
        esac
        shift
    done
    if [ -n "$password_file" ]; then
        [ -r "$password_file" ] || fail 2 "--mqtt-password-file: cannot read $password_file"
        MQTT_PASSWORD=$(head -n 1 "$password_file")
    fi
}

bad_option() {
    complain "$1: $2"
    "usage_$1" >&2
    exit 2
}

# --- which instances ------------------------------------------------------------------

# select_instances: fills SELECTED with the indexes of what OPTION_INSTANCE or the folders name.
select_instances() {
    local index data
    SELECTED=()
    data=${OPTION_DATA:+$(readlink -m "$OPTION_DATA")}
    for index in "${!INST_NAME[@]}"; do
        if [ -n "$data" ] && [ "${INST_DATA[$index]}" != "$data" ]; then
            continue
        fi
        case $OPTION_INSTANCE in
            '' | "${INST_NAME[$index]}" | "$(suffix_of "${INST_UNIT[$index]}")")
                SELECTED+=("$index")
                ;;
        esac
    done
    if [ ${#SELECTED[@]} = 0 ] && [ -n "$data" ] && [ -n "$OPTION_MOONRAKER$OPTION_ENV" ]; then
        add_instance '' "$data" "$OPTION_MOONRAKER" "$OPTION_KLIPPER" "$OPTION_ENV"
        SELECTED=($((${#INST_NAME[@]} - 1)))
    fi
    [ ${#SELECTED[@]} -gt 0 ] || no_instance
}

no_instance() {
    local known=none
    [ ${#INST_NAME[@]} = 0 ] || known=${INST_NAME[*]}
    fail 1 "no Moonraker ${OPTION_INSTANCE:+named $OPTION_INSTANCE }found (found: $known);\
 name one with --data-dir and --moonraker-dir"
}

# Everything that can be refused is refused before the first change.
check_instance() {
    local name=${INST_NAME[$1]} components=${INST_COMPONENTS[$1]}
    [ -f "${INST_CONF[$1]}" ] || fail 1 "$name: there is no ${INST_CONF[$1]}"
    [ -d "$components" ] || fail 1 "$name: Moonraker's folder was not found; --moonraker-dir names it"
    [ -w "$components" ] || fail 1 "$name: may not write to $components as $(id -un)"
    [ -w "${INST_CONF[$1]}" ] || fail 1 "$name: may not write to ${INST_CONF[$1]} as $(id -un)"
    [ -x "${INST_PYTHON[$1]}" ] ||
        fail 1 "$name: Moonraker's Python was not found; --moonraker-env names its environment"
}

refuse_while_printing() {
    local name=${INST_NAME[$1]} python=${INST_PYTHON[$1]} state
    [ -x "$python" ] || python=python3
    state=$("$python" "$INSTALL_DIR/print_state.py" \
        "${INST_CONF[$1]}" "${INST_DATA[$1]}") ||
        fail 1 "$name: it may be printing; nothing was changed"
    case $state in
        printing) fail 1 "$name is printing; nothing was changed" ;;
        no-moonraker)
            # Klipper prints on without Moonraker, and a restart would end that print. Without
            # a running systemd, of which systemctl complains, no unit is active.
            if [ -z "$ROOT" ] && [ -n "${INST_KLIPPER_UNIT[$1]}" ] &&
                systemctl is-active --quiet "${INST_KLIPPER_UNIT[$1]}" 2>/dev/null; then
                fail 1 "$name: Moonraker does not run, so nobody can say whether Klipper prints;\
 start Moonraker or stop ${INST_KLIPPER_UNIT[$1]}"
            fi
            ;;
    esac
}

# --- host -----------------------------------------------------------------------------

command_host() {
    local index
    parse_host host "$@"
    refuse_root host
    check_pairing
    check_values
    find_instances "$OPTION_MOONRAKER" "$OPTION_KLIPPER" "$OPTION_ENV"
    select_instances
    if [ ${#SELECTED[@]} -gt 1 ] && [ -n "$PRINTER_ID$MQTT_USERNAME" ]; then
        fail 2 "${#SELECTED[@]} instances were found; give --printer-id and --mqtt-user with --instance"
    fi
    for index in "${SELECTED[@]}"; do
        check_instance "$index"
        check_credentials "$index"
        refuse_while_printing "$index"
    done
    pair_instances "${SELECTED[@]}"
    for index in "${SELECTED[@]}"; do
        install_instance "$index"
    done
    report_end
    [ "$DRY_RUN" = 1 ] || tell_next_steps "${SELECTED[@]}"
}

install_instance() {
    local config=${INST_DATA[$1]}/config before=$CHANGES
    say "${INST_NAME[$1]}: Moonraker ${INST_COMPONENTS[$1]%/components}"
    # First: a code that was spent must not be lost to whatever fails after it.
    write_conf "$1"
    install_component "${INST_COMPONENTS[$1]}"
    install_requirements "${INST_PYTHON[$1]}"
    if [ "$WITH_KLIPPER" = 1 ]; then
        install_section "$1"
    fi
    add_include "${INST_CONF[$1]}" "$(conf_reference "$config/moonfleet.conf" "${INST_CONF[$1]}")"
    restart_changed "$1" "$before"
}

# The include is relative while both files stand in one folder, as they do by default.
conf_reference() {
    if [ "${1%/*}" = "${2%/*}" ]; then
        printf '%s' "${1##*/}"
    else
        printf '%s' "$1"
    fi
}

is_checkout() { [ -e "${1%/*/*}/.git" ]; }

# A folder for a checkout: git then shows no untracked *.py, of which Moonraker would warn.
# A file for pip: the only thing that an upgrade by pip leaves in place.
install_component() {
    local shim
    if is_checkout "$1"; then
        link_directory "$REPO/moonraker_component" "$1/moonfleet"
        return
    fi
    if [ -L "$1/moonfleet" ]; then
        remove_file "$1/moonfleet"
    fi
    # Python would prefer the folder to our file.
    [ ! -e "$1/moonfleet" ] || [ "$DRY_RUN" = 1 ] ||
        fail 1 "$1/moonfleet exists and is not Moonfleet's link: move it away first"
    shim=$(<"$INSTALL_DIR/moonfleet_shim.py")
    write_file "$1/moonfleet.py" 644 "${shim//@PACKAGE_DIR@/"$REPO/moonraker_component"}"
}

# install_requirements PYTHON: what the component imports and Moonraker does not bring. Newer
# Moonrakers bring paho-mqtt and requests themselves, in versions that stay untouched.
install_requirements() {
    local missing=()
    "$1" -c 'import msgspec' 2>/dev/null || missing+=("$MSGSPEC_PIN")
    "$1" -c 'import paho.mqtt.client' 2>/dev/null || missing+=('paho-mqtt>=1.6,<3')
    "$1" -c 'import requests' 2>/dev/null || missing+=('requests>=2.25,<3')
    [ ${#missing[@]} -gt 0 ] || return 0
    change "install ${missing[*]} for $1" \
        "$1" -m pip install --quiet --disable-pip-version-check "${missing[@]}"
}

install_section() {
    local klippy=${INST_KLIPPY[$1]} folder before=$CHANGES
    if [ ! -d "$klippy/extras" ]; then
        say "${INST_NAME[$1]}: no Klipper found (--klipper-dir names it): starts have no deadline\
 and there is no fence"
        return
    fi
    [ -f "${INST_PRINTER_CFG[$1]}" ] || fail 1 "there is no ${INST_PRINTER_CFG[$1]}"
    folder=$klippy/extras
    # Kalico keeps what is not its own apart.
    if [ -d "$klippy/plugins" ]; then
        folder=$klippy/plugins
        # It refuses a section that stands in both, as after an update from mainline.
        if [ -L "$klippy/extras/moonfleet" ]; then
            remove_file "$klippy/extras/moonfleet"
        fi
    fi
    link_directory "$REPO/klipper_extras" "$folder/moonfleet"
    if [ "$CHANGES" -gt "$before" ] && is_checkout "$folder"; then
        say 'Klipper will call its version "-dirty" from now on: it counts our link as a change'
    fi
    write_file "${INST_DATA[$1]}/config/moonfleet.cfg" 644 "$(<"$INSTALL_DIR/moonfleet.cfg.in")"
    add_include "${INST_PRINTER_CFG[$1]}" \
        "$(conf_reference "${INST_DATA[$1]}/config/moonfleet.cfg" "${INST_PRINTER_CFG[$1]}")"
}

# --- services -------------------------------------------------------------------------

# restart_changed INDEX COUNT: only when something changed since COUNT.
restart_changed() {
    local unit units=()
    [ "$CHANGES" -gt "$2" ] || return 0
    for unit in "${INST_KLIPPER_UNIT[$1]}" "${INST_UNIT[$1]}"; do
        [ -z "$unit" ] || units+=("$unit")
    done
    if [ "$RESTART" = 0 ] || [ -n "$ROOT" ] || [ ${#units[@]} = 0 ] || ! systemd_runs; then
        say "restart Moonraker and Klipper of ${INST_NAME[$1]} for this to take effect"
        return
    fi
    change "restart ${units[*]}" sudo systemctl restart "${units[@]}"
}

report_end() {
    if [ "$CHANGES" = 0 ]; then
        say 'nothing to change'
    elif [ "$DRY_RUN" = 1 ]; then
        say "would make $CHANGES changes; made none"
    else
        say "changes made: $CHANGES"
    fi
}

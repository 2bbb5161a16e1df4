# shellcheck shell=bash
# moonfleet.conf: how a printer's component reaches the farm's broker.
#
# Owns: the options, what each may hold, and how the file is made from its template and changed
# later. Must not know where Moonraker is.
#
# The password stands in a file of its own: Moonraker writes its configuration into its log, which
# people post when they ask for help, and serves the folder config/ to its user interfaces. Beside
# that folder is where Moonraker keeps its own secrets, too.

PRINTER_ID=${MOONFLEET_PRINTER_ID:-}
MQTT_ADDRESS=${MOONFLEET_MQTT_HOST:-}
MQTT_PORT=${MOONFLEET_MQTT_PORT:-}
MQTT_USERNAME=${MOONFLEET_MQTT_USER:-}
MQTT_PASSWORD=${MOONFLEET_MQTT_PASSWORD:-}
MQTT_TLS_CA=${MOONFLEET_MQTT_TLS_CA:-}
MQTT_TLS=${MOONFLEET_MQTT_TLS:-}
# Only ever set by pairing.
TOPIC_PREFIX='' COORDINATOR_URL=''

# check_value OPTION VALUE PATTERN WHAT: an empty VALUE means "not given".
check_value() {
    [ -z "$2" ] || [[ $2 =~ ^$3$ ]] || fail 2 "$1: '$2' is not $4"
}

check_values() {
    check_value --printer-id "$PRINTER_ID" '[A-Za-z0-9_-]{1,64}' '1 to 64 of [A-Za-z0-9_-]'
    check_value --mqtt-host "$MQTT_ADDRESS" '[A-Za-z0-9.:_-]{1,253}' 'a host name or an address'
    check_value --mqtt-port "$MQTT_PORT" '[1-9][0-9]{0,4}' 'a port (1 to 65535)'
    [ "${MQTT_PORT:-1}" -le 65535 ] || fail 2 "--mqtt-port: $MQTT_PORT is not a port (1 to 65535)"
    check_value --mqtt-user "$MQTT_USERNAME" '[A-Za-z0-9._@-]{1,100}' '1 to 100 of [A-Za-z0-9._@-]'
    # Moonraker cuts an option at " #" and " ;", and strips it. Never shown: it is a secret.
    if [ -n "$MQTT_PASSWORD" ] && ! [[ $MQTT_PASSWORD =~ ^[^[:space:]]{1,200}$ ]]; then
        fail 2 'the MQTT password: 1 to 200 characters without spaces are allowed'
    fi
    if [ -n "$MQTT_TLS_CA" ]; then
        MQTT_TLS_CA=$(readlink -m "$MQTT_TLS_CA")
        [ -r "$MQTT_TLS_CA" ] || fail 2 "--mqtt-tls-ca: cannot read $MQTT_TLS_CA"
    fi
    # The component would refuse it, too; here it is said before anything is changed.
    case $MQTT_ADDRESS in
        '' | localhost | 127.* | ::1) ;;
        *) [ -n "$MQTT_TLS_CA$MQTT_TLS" ] ||
            fail 2 "--mqtt-host $MQTT_ADDRESS: a broker on another computer needs --mqtt-tls-ca, or\
 --mqtt-tls where a public CA signed its certificate" ;;
    esac
}

password_path() { printf '%s/moonfleet.password' "${INST_DATA[$1]}"; }

check_credentials() {
    [ -z "$PAIRING_CODE" ] || return 0
    [ ! -f "${INST_DATA[$1]}/config/moonfleet.conf" ] || return 0
    [ -n "$MQTT_ADDRESS" ] || fail 2 "${INST_NAME[$1]}: --coordinator and --code are needed the first time (or --mqtt-host)"
    [ -n "$MQTT_PASSWORD" ] ||
        fail 2 "${INST_NAME[$1]}: --mqtt-password-file is needed the first time"
}

# printer_id_of INDEX: "host", and "host-1" for moonraker-1.service.
printer_id_of() {
    local name suffix
    suffix=$(suffix_of "${INST_UNIT[$1]}")
    name=$(uname -n)
    name=${name%%.*}${suffix:+-$suffix}
    printf '%s' "${name//[^A-Za-z0-9_-]/-}"
}

# A new file comes from the template. In one that exists only the options that were given
# change, so that what a person wrote there stays.
write_conf() {
    local path=${INST_DATA[$1]}/config/moonfleet.conf text origin printer_id password_file=''
    take_paired "$1"
    if [ -n "$MQTT_PASSWORD" ]; then
        write_file "$(password_path "$1")" 600 "$MQTT_PASSWORD"
        password_file=$(password_path "$1")
        # As Moonraker will see it.
        password_file=${password_file#"$ROOT"}
    fi
    if [ -f "$path" ]; then
        text=$(<"$path")
        text=$(set_option "$text" printer_id "$PRINTER_ID")
        text=$(set_option "$text" mqtt_address "$MQTT_ADDRESS")
        text=$(set_option "$text" mqtt_port "$MQTT_PORT")
        text=$(set_option "$text" mqtt_username "$MQTT_USERNAME")
        text=$(set_option "$text" mqtt_password_file "$password_file")
        text=$(set_option "$text" mqtt_tls_ca "$MQTT_TLS_CA")
        text=$(set_option "$text" mqtt_tls "$MQTT_TLS")
        text=$(set_option "$text" topic_prefix "$TOPIC_PREFIX")
        text=$(set_option "$text" coordinator_url "$COORDINATOR_URL")
        write_file "$path" 600 "$text"
        return
    fi
    printer_id=${PRINTER_ID:-$(printer_id_of "$1")}
    origin=$(git -C "$REPO" config --get remote.origin.url 2>/dev/null || true)
    text=$(<"$INSTALL_DIR/moonfleet.conf.in")
    text=${text//@PRINTER_ID@/"$printer_id"}
    text=${text//@MQTT_ADDRESS@/"$MQTT_ADDRESS"}
    text=${text//@MQTT_PORT@/"${MQTT_PORT:-$(default_port)}"}
    text=${text//@MQTT_USERNAME@/"${MQTT_USERNAME:-$printer_id}"}
    text=${text//@MQTT_PASSWORD_FILE@/"$password_file"}
    text=${text//@MQTT_TLS_CA@/"${MQTT_TLS_CA#-}"}
    text=${text//@MQTT_TLS@/"${MQTT_TLS#-}"}
    text=${text//@TOPIC_PREFIX@/"${TOPIC_PREFIX#-}"}
    text=${text//@COORDINATOR_URL@/"${COORDINATOR_URL#-}"}
    text=${text//@REPO@/"$REPO"}
    text=${text//@ORIGIN@/"$origin"}
    # Moonraker can update only what it can fetch again.
    [ -n "$origin" ] || text=${text%%$'\n\n[update_manager'*}
    # An option without a value is none.
    write_file "$path" 600 "$(sed '/^[a-z_]*: $/d' <<<"$text")"
}

default_port() { if [ -n "$MQTT_TLS_CA$MQTT_TLS" ]; then echo 8883; else echo 1883; fi; }

# set_option TEXT NAME VALUE: TEXT with that option of [moonfleet]; unchanged when VALUE is empty,
# and without it when VALUE is "-".
set_option() {
    if [ -z "$3" ]; then
        printf '%s' "$1"
        return
    fi
    if [ "$3" = - ]; then
        sed "/^\[moonfleet\]/,/^\[/{/^$2:/d}" <<<"$1"
        return
    fi
    # Through the environment: awk would read backslashes in -v, and a path may hold them.
    name=$2 value=$3 awk '
        /^\[/ {
            if (inside && !done) { print ENVIRON["name"] ": " ENVIRON["value"]; done = 1 }
            inside = ($0 ~ /^\[moonfleet\]/)
        }
        inside && index($0, ENVIRON["name"] ":") == 1 {
            if (!done) print ENVIRON["name"] ": " ENVIRON["value"]
            done = 1
            next
        }
        { print }
        END { if (inside && !done) print ENVIRON["name"] ": " ENVIRON["value"] }
    ' <<<"$1"
}

# shellcheck shell=bash
# Joining by code: `host --coordinator URL --code CODE`.
#
# Owns: which printers are joined, and where what the farm answers goes until conf.sh writes it. The
# talking is pair.py's. Sourced by host.sh.
# shellcheck disable=SC2034  # what is set here conf.sh writes

COORDINATOR=${MOONFLEET_COORDINATOR:-}
PAIRING_CODE=${MOONFLEET_CODE:-}
PAIRED=''

check_pairing() {
    if [ -z "$COORDINATOR$PAIRING_CODE" ]; then
        return
    fi
    [ -n "$COORDINATOR" ] || fail 2 '--code needs --coordinator URL, as "moonfleet pair" shows it'
    [ -n "$PAIRING_CODE" ] || fail 2 '--coordinator needs --code CODE, which "moonfleet pair" makes'
    [ -z "$MQTT_ADDRESS$MQTT_USERNAME$MQTT_TLS_CA$MQTT_TLS" ] ||
        fail 2 '--code brings everything of the broker: leave the --mqtt options away, except a password'
}

# paired_id INDEX: the printer's id in the farm: as asked for, as it was, or made of the host's name.
paired_id() {
    local conf=${INST_DATA[$1]}/config/moonfleet.conf known=''
    if [ -f "$conf" ]; then
        known=$(sed -n 's/^printer_id: *//p' "$conf" | head -n 1)
    fi
    printf '%s' "${PRINTER_ID:-${known:-$(printer_id_of "$1")}}"
}

# pair_instances INDEX...: spends the code for all of them at once.
pair_instances() {
    local index ids=()
    [ -n "$PAIRING_CODE" ] || return 0
    for index in "$@"; do
        ids+=("$(paired_id "$index")")
    done
    if [ "$DRY_RUN" = 1 ]; then
        change "join ${ids[*]} to the farm at $COORDINATOR" true
        return
    fi
    PAIRED=$(mktemp -d)
    trap 'rm -rf "$PAIRED"' EXIT
    change "join ${ids[*]} to the farm at $COORDINATOR" run_pairing "$1" "${ids[@]}"
    MQTT_ADDRESS=$(paired_option mqtt_address)
    MQTT_PORT=$(paired_option mqtt_port)
    MQTT_TLS=$(paired_option mqtt_tls)
    TOPIC_PREFIX=$(paired_option topic_prefix)
    COORDINATOR_URL=$(paired_option coordinator_url)
}

# The code goes by stdin: what stands in a command line can be read by every user.
run_pairing() {
    local python=${INST_PYTHON[$1]}
    shift
    "$python" "$INSTALL_DIR/pair.py" "$COORDINATOR" "$PAIRED" "$@" <<<"$PAIRING_CODE" ||
        fail 1 'not joined; nothing was changed'
}

paired_option() { sed -n "s/^$1 //p" "$PAIRED/options"; }

# take_paired INDEX: sets what conf.sh writes for this instance. The CA lies beside the password.
take_paired() {
    local id
    [ -n "$PAIRED" ] || return 0
    id=$(paired_id "$1")
    MQTT_USERNAME=$id
    # Empty where the user runs the broker: then the one that was given or is there stays.
    if [ -n "$(<"$PAIRED/$id.password")" ]; then
        MQTT_PASSWORD=$(<"$PAIRED/$id.password")
    elif [ -z "$MQTT_PASSWORD" ] && [ ! -f "$(password_path "$1")" ]; then
        say "the broker is not the farm's: make the account $id there, then give its password here:\
 ./install.sh host --instance ${INST_NAME[$1]} --mqtt-password-file FILE"
    fi
    MQTT_TLS_CA=-
    if [ -f "$PAIRED/ca.pem" ]; then
        write_file "$(ca_path "$1")" 644 "$(<"$PAIRED/ca.pem")"
        MQTT_TLS_CA=$(ca_path "$1")
        MQTT_TLS_CA=${MQTT_TLS_CA#"$ROOT"}
    fi
}

ca_path() { printf '%s/moonfleet.ca.pem' "${INST_DATA[$1]}"; }

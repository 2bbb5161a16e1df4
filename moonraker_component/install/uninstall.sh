# shellcheck shell=bash
# The command `uninstall` of install.sh: both configurations as they were before `host`.
#
# Owns: what is taken out, and what stays because another instance needs it. Sourced by host.sh.

usage_uninstall() {
    cat <<'TEXT'
usage: ./install.sh uninstall [options]

Takes out what `host` put into the Moonrakers and Klippers of this machine, and the service that
`coordinator` made. Both configurations come back as they were. The farm's data stays.

  --instance NAME      only this one: its data folder (printer_1_data) or its unit's suffix (1)
  --data-dir DIR, --moonraker-dir DIR, --moonraker-env DIR, --klipper-dir DIR
                       as for host
  --no-restart         do not restart the services that were changed
  --root DIR           treat DIR as the root folder; restarts nothing
  --dry-run            say what would be changed, change nothing
TEXT
}

command_uninstall() {
    local index
    parse_host uninstall "$@"
    refuse_root uninstall
    find_instances "$OPTION_MOONRAKER" "$OPTION_KLIPPER" "$OPTION_ENV"
    if [ ${#INST_NAME[@]} -gt 0 ] || [ -n "$OPTION_DATA$OPTION_INSTANCE" ]; then
        select_instances
        for index in "${SELECTED[@]}"; do
            refuse_while_printing "$index"
        done
        for index in "${SELECTED[@]}"; do
            remove_instance "$index"
        done
    fi
    if [ -z "$OPTION_DATA$OPTION_INSTANCE" ]; then
        remove_service
    fi
    report_end
}

remove_instance() {
    local config=${INST_DATA[$1]}/config before=$CHANGES folder name
    remove_include "${INST_CONF[$1]}" "$(conf_reference "$config/moonfleet.conf" "${INST_CONF[$1]}")"
    remove_include "${INST_PRINTER_CFG[$1]}" \
        "$(conf_reference "$config/moonfleet.cfg" "${INST_PRINTER_CFG[$1]}")"
    remove_file "$config/moonfleet.conf"
    remove_file "$config/moonfleet.cfg"
    remove_file "$(password_path "$1")"
    remove_file "$(ca_path "$1")"
    for folder in "${INST_COMPONENTS[$1]}" "${INST_KLIPPY[$1]}/extras" "${INST_KLIPPY[$1]}/plugins"; do
        name=$folder/moonfleet
        if is_used_elsewhere "$1" "$folder"; then
            continue
        fi
        if [ -L "$name" ]; then
            remove_file "$name"
        fi
        if grep -qs '^PACKAGE_NAME = "moonfleet_component"$' "$name.py"; then
            remove_file "$name.py"
        fi
    done
    if [ -d "${INST_DATA[$1]}/moonfleet" ]; then
        say "left alone: ${INST_DATA[$1]}/moonfleet (what was printed, and whether the bed is clear)"
    fi
    restart_changed "$1" "$before"
}

# is_used_elsewhere INDEX FOLDER: another instance of the same Moonraker or Klipper needs the link.
is_used_elsewhere() {
    local other
    for other in "${!INST_NAME[@]}"; do
        [ "$other" != "$1" ] || continue
        case $2 in
            "${INST_COMPONENTS[$other]}" | "${INST_KLIPPY[$other]}"/*) ;;
            *) continue ;;
        esac
        if [ -f "${INST_DATA[$other]}/config/moonfleet.conf" ]; then
            return 0
        fi
    done
    return 1
}

# shellcheck shell=bash
# What a person does after `host`, told at its end: nothing prints before the bed is said to be
# clear, and nobody would guess that.
#
# Owns: these lines. Must not know how anything was installed. Sourced by host.sh.

# tell_next_steps INDEX...: for the instances that were set up.
tell_next_steps() {
    local index id conf
    for index in "$@"; do
        conf=${INST_DATA[$index]}/config/moonfleet.conf
        id=$(sed -n 's/^printer_id: *//p' "$conf" | head -n 1)
        say "next, for the printer '$id' (${INST_NAME[$index]}):"
        printf '  1. Mainsail or Fluidd shows no warning of Moonfleet; if it does, it says what to do\n'
        printf '  2. on the coordinator:  moonfleet printers      shows %s and what it waits for\n' "$id"
        printf '  3. with an empty bed:   moonfleet clear %s   or MOONFLEET_BED_CLEAR at the printer\n' "$id"
    done
    say 'loaded filament, model and every other option: docs/configuration.md'
}

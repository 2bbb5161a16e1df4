# shellcheck shell=bash
# Small changes to files that belong to somebody else: each is whole or not made at all.
#
# Owns: writing, links, and the one include line. Uses change, say and fail of install.sh.
# Must not know whose file it is.

# replace_file PATH MODE: stdin becomes PATH, in one rename. A link is followed and kept.
replace_file() {
    local path temporary
    path=$(readlink -m "$1")
    temporary=$(mktemp "$path.XXXXXX")
    cat >"$temporary"
    chmod "$2" "$temporary"
    mv -f "$temporary" "$path"
}

# write_file PATH MODE TEXT: nothing when PATH is so already.
write_file() {
    if [ -f "$1" ] && [ "$(cat "$1")" = "$3" ] && [ "$(stat -c %a "$1")" = "$2" ]; then
        return
    fi
    change "write $1" replace_text "$@"
}

replace_text() { printf '%s\n' "$3" | replace_file "$1" "$2"; }

# link_directory TARGET LINK: also turns a link to an older place; never removes a real folder.
link_directory() {
    if [ -e "$2" ] && [ ! -L "$2" ]; then
        fail 1 "$2 exists and is not Moonfleet's link: move it away first"
    fi
    if [ "$(readlink "$2" || true)" = "$1" ]; then
        return
    fi
    change "link $2 -> $1" ln -sfn "$1" "$2"
}

has_include() { grep -qxF "[include $2]" "$1"; }

# The first line, because Klipper keeps what SAVE_CONFIG wrote at the end of its file, and
# because the rest of the file then comes back byte by byte.
add_include() {
    if has_include "$1" "$2"; then
        return
    fi
    change "add [include $2] to $1" prepend_include "$1" "$2"
}

prepend_include() {
    local mode
    mode=$(stat -L -c %a "$1")
    { printf '[include %s]\n' "$2" && cat "$1"; } | replace_file "$1" "$mode"
}

remove_include() {
    if [ ! -f "$1" ] || ! has_include "$1" "$2"; then
        return
    fi
    change "remove [include $2] from $1" drop_include "$1" "$2"
}

drop_include() {
    local mode
    mode=$(stat -L -c %a "$1")
    # awk would add a newline to a last line that has none; sed keeps it.
    sed "/^\[include ${2/./\\.}\]\$/d" "$1" | replace_file "$1" "$mode"
}

remove_file() {
    if [ -e "$1" ] || [ -L "$1" ]; then
        change "remove $1" rm -f "$1"
    fi
}

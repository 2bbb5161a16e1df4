# shellcheck shell=bash
# The Moonrakers and Klippers on this machine, found as KIAUH finds them: by their systemd units.
#
# Owns: how units, environment files and folders are read. Fills the arrays INST_*, one entry
# per Moonraker. Changes nothing, and must not know what will be installed.
# ROOT stands before every path that comes from a unit: empty, or the folder of --root.

ROOT=''
INST_NAME=() INST_DATA=() INST_CONF=() INST_PYTHON=() INST_COMPONENTS=() INST_UNIT=()
INST_KLIPPER_UNIT=() INST_KLIPPY=() INST_PRINTER_CFG=()

rooted() {
    case $1 in
        '' | "$ROOT"/*) printf '%s' "$1" ;;
        *) printf '%s%s' "$ROOT" "$1" ;;
    esac
}

# unit_files KIND: moonraker.service, moonraker-1.service ... but not moonraker-obico.service
# and the other companions whose units look the same (KIAUH's own list, and what it misses).
unit_files() {
    local file name
    for file in "$ROOT/etc/systemd/system/$1".service "$ROOT/etc/systemd/system/$1"-*.service; do
        [ -f "$file" ] || continue
        name=${file##*/}
        [[ $name =~ ^$1(-[0-9a-zA-Z]+)?\.service$ ]] || continue
        case $name in
            *None* | *mcu* | *obico* | *bambu* | *companion* | *telegram* | *hmi*) continue ;;
        esac
        printf '%s\n' "$file"
    done
}

# unit_words UNIT: ExecStart and the values of its EnvironmentFile, one word per line.
unit_words() {
    local environment
    sed -n 's/^ExecStart=[-@:+!]*//p' "$1" | tr -s ' ' '\n'
    environment=$(unit_environment "$1")
    if [ -f "$environment" ]; then
        sed -n 's/^[A-Z_]*=//p' "$environment" | tr -d "\"'" | tr -s ' ' '\n'
    fi
}

unit_environment() {
    rooted "$(sed -n 's/^EnvironmentFile=-\{0,1\}//p' "$1" | tr -d "\"'" | tail -n 1)"
}

# word_after OPTION: the word that follows OPTION among the words on stdin.
word_after() { awk -v option="$1" 'seen { print; exit } $0 == option { seen = 1 }'; }

# suffix_of UNIT: "" for moonraker.service, "1" for moonraker-1.service.
suffix_of() {
    local name=${1##*/}
    name=${name%.service}
    case $name in
        *-*) printf '%s' "${name#*-}" ;;
    esac
}

# data_dir_of UNIT: as KIAUH: from the place of the environment file, else -d, else by name.
data_dir_of() {
    local environment suffix words
    environment=$(unit_environment "$1")
    if [[ $environment == */systemd/*.env ]]; then
        printf '%s' "${environment%/systemd/*}"
        return
    fi
    words=$(unit_words "$1" | word_after -d)
    if [ -n "$words" ]; then
        rooted "$words"
        return
    fi
    suffix=$(suffix_of "$1")
    rooted "$HOME/printer${suffix:+_$suffix}_data"
}

# package_dir PYTHON MODULE WORDS: the folder of the Python package that a unit starts.
package_dir() {
    local entry
    entry=$(printf '%s\n' "$3" | grep -m 1 "/$2/$2\.py\$" || true)
    if [ -n "$entry" ]; then
        rooted "${entry%/*}"
        return
    fi
    # Started with -m: from a checkout on PYTHONPATH (which stands among the words), or by pip.
    while IFS= read -r entry; do
        if [ -n "$entry" ] && [ -f "$(rooted "$entry")/$2/__init__.py" ]; then
            rooted "$entry/$2"
            return
        fi
    done < <(printf '%s\n' "$3" | grep '^/' || true)
    [ -x "$1" ] || return 0
    (cd / && "$1" -c "import $2; print($2.__path__[0])" 2>/dev/null) || true
}

# python_beside PROGRAM: a unit names its Python, or a program in the same virtual environment.
python_beside() {
    case ${1##*/} in
        python*) printf '%s' "$1" ;;
        *) printf '%s/python' "${1%/*}" ;;
    esac
}

# find_instances MOONRAKER_DIR KLIPPER_DIR MOONRAKER_ENV: the three folders win over the units.
find_instances() {
    local unit
    while IFS= read -r unit; do
        add_instance "$unit" "$(data_dir_of "$unit")" "$@"
    done < <(unit_files moonraker)
}

# add_instance UNIT DATA MOONRAKER_DIR KLIPPER_DIR MOONRAKER_ENV; UNIT may be empty.
add_instance() {
    local unit=$1 data=$2 moonraker_dir=$3 klipper_dir=$4 environment=$5
    local words='' python='' package=''
    if [ -n "$unit" ]; then
        words=$(unit_words "$unit")
        python=$(rooted "$(python_beside "$(printf '%s\n' "$words" | head -n 1)")")
    fi
    [ -z "$environment" ] || python=$environment/bin/python
    if [ -n "$moonraker_dir" ]; then
        package=$moonraker_dir/moonraker
    else
        package=$(package_dir "$python" moonraker "$words")
    fi
    local conf
    conf=$(rooted "$(printf '%s\n' "$words" | word_after -c)")
    INST_NAME+=("${data##*/}")
    INST_DATA+=("$data")
    INST_CONF+=("${conf:-$data/config/moonraker.conf}")
    INST_PYTHON+=("$python")
    INST_COMPONENTS+=("${package:+$package/components}")
    INST_UNIT+=("${unit##*/}")
    add_klipper "$data" "$klipper_dir"
}

# add_klipper DATA KLIPPER_DIR: the Klipper unit that uses the same data folder, if any.
add_klipper() {
    local unit found='' words='' program klippy='' printer_cfg=''
    while IFS= read -r unit; do
        if [ "$(data_dir_of "$unit")" = "$1" ]; then
            found=$unit
            words=$(unit_words "$unit")
            program=$(rooted "$(printf '%s\n' "$words" | head -n 1)")
            klippy=$(package_dir "$(python_beside "$program")" klippy "$words")
            printer_cfg=$(rooted "$(printf '%s\n' "$words" | grep -m 1 '\.cfg$' || true)")
        fi
    done < <(unit_files klipper)
    [ -z "$2" ] || klippy=$2/klippy
    INST_KLIPPER_UNIT+=("${found##*/}")
    INST_KLIPPY+=("$klippy")
    INST_PRINTER_CFG+=("${printer_cfg:-$1/config/printer.cfg}")
}

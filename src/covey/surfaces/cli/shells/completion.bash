# Completion of covey for bash. Load it: eval "$(covey completion bash)"
_covey_complete() {
    local IFS=$'\n' line value current words
    # Bash splits words at = and :, which Covey's arguments contain; join them again.
    words=() current=
    local i word glue=
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == [=:]* && ${#words[@]} -gt 0 && ${COMP_LINE} == *"${words[${#words[@]} - 1]}$word"* ]]; then
            words[${#words[@]} - 1]+=$word
            glue=1
        elif [[ -n $glue && ${COMP_LINE} == *"${words[${#words[@]} - 1]}$word"* ]]; then
            words[${#words[@]} - 1]+=$word
            glue=
        else
            words+=("$word")
            glue=
        fi
    done
    current=${words[${#words[@]} - 1]}
    # What bash replaces is only what stands after the last = or :.
    local typed=${COMP_WORDS[COMP_CWORD]} prefix
    [[ $typed == [=:] ]] && typed=
    prefix=${current%"$typed"}
    COMPREPLY=()
    while IFS= read -r line; do
        value=${line%%$'\t'*}
        case $value in
            :files) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -f -- "$typed")) ;;
            :directories) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -d -- "$typed")) ;;
            :commands) COMPREPLY+=($(compgen -c -- "$typed")) ;;
            *)
                [[ $value == *= ]] && compopt -o nospace 2>/dev/null
                COMPREPLY+=("${value#"$prefix"}")
                ;;
        esac
    done < <(command "${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
    return 0
}
complete -F _covey_complete covey

typeset -g __covey_pwd='' __covey_stamp='' __covey_file='' __covey_fault='' __covey_chosen=''
typeset -g __covey_project='' __covey_environment='' __covey_seen=''
typeset -gA __covey_now __covey_was
typeset -ga precmd_functions chpwd_functions

__covey_lines() {
  local line ended='' text='' fd
  exec {fd}<$__covey_file || return 1
  read -r -u $fd -k 8192 text
  exec {fd}<&-
  for line in "${(@f)text}"; do
    [[ -n $ended ]] && break
    __covey_line "$line" || return 1
  done
}

# The rendered file is a list of calls of this: NAME VALUE.
__covey_set() {
  __covey_seen+="$1 "
  if (( ${+__covey_now[$1]} )); then
    # A value that was changed by hand in this shell stays.
    [[ ${(P)1+x} == x && ${(P)1} == "$__covey_now[$1]" && ${(P)1} != "$2" ]] || return 0
  else
    case ${(tP)1} in
      '') ;;
      *readonly* | *left* | *right* | *lower* | *upper* | ^scalar*) return 0 ;;
      *export*) typeset -gx "__COVEY_WAS_$1=${(P)1}" ;;
      *) __covey_was[$1]=${(P)1} ;;
    esac
  fi
  typeset -gx "$1=$2"
  __covey_now[$1]=$2
}

__covey_drop() {
  local __covey_env=__COVEY_WAS_$1
  if [[ ${(P)1+x} == x && ${(P)1} == "$__covey_now[$1]" ]]; then
    if [[ ${(P)__covey_env+x} == x ]]; then
      typeset -gx "$1=${(P)__covey_env}"
    elif (( ${+__covey_was[$1]} )); then
      typeset -g +x "$1=$__covey_was[$1]"
    else
      unset "$1"
    fi
  fi
  unset "__covey_now[$1]" "__covey_was[$1]" "$__covey_env"
}

__covey_update() {
  local __covey_stamp_now=$1 __covey_before=$__covey_project@$__covey_environment __covey_name
  __covey_find
  if [[ -z $__covey_stamp_now || ! -O $__covey_dir ]]; then
    return 0
  fi
  if [[ $__covey_stamp_now == "$__covey_stamp" &&
    $__covey_before == "$__covey_project@$__covey_environment" ]]; then
    return 0
  fi
  __covey_seen=' '
  if [[ $__covey_stamp_now != locked ]]; then
    __covey_choose "$__covey_dir/zsh" || return 0
    . "$__covey_chosen" || return 0
  fi
  for __covey_name in ${(k)__covey_now}; do
    [[ $__covey_seen == *" $__covey_name "* ]] || __covey_drop $__covey_name
  done
  if (( ${#__covey_now} )); then
    typeset -gx __COVEY_NAMES=" ${(kj: :)__covey_now} "
  else
    unset __COVEY_NAMES
  fi
  __covey_stamp=$__covey_stamp_now
}

__covey_prompt() {
  local __covey_code=$? __covey_stamp_now=''
  if [[ -r $__covey_dir/stamp ]]; then
    IFS= read -r __covey_stamp_now <"$__covey_dir/stamp" || :
  fi
  if [[ $__covey_stamp_now != "$__covey_stamp" || $PWD != "$__covey_pwd" ||
    $__covey_file -nt $__covey_dir/stamp ]]; then
    emulate -L zsh
    setopt extended_glob typeset_silent no_err_exit
    __covey_update "$__covey_stamp_now" || :
  fi
  [[ -o err_exit ]] && return 0
  return $__covey_code
}

# A shell inside a shell takes over what the outer one had set.
() {
  emulate -L zsh
  local __covey_name
  for __covey_name in ${(s: :)__COVEY_NAMES-}; do
    [[ $__covey_name == *[^A-Za-z0-9_]* ]] || __covey_now[$__covey_name]=${(P)__covey_name-}
  done
  precmd_functions=(__covey_prompt ${precmd_functions:#__covey_prompt})
  chpwd_functions=(__covey_prompt ${chpwd_functions:#__covey_prompt})
}
__covey_prompt || :

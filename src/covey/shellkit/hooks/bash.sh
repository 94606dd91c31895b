__covey_pwd='' __covey_stamp='' __covey_file='' __covey_fault='' __covey_chosen=''
__covey_project='' __covey_environment='' __covey_names=' ' __covey_seen=''

__covey_lines() {
  local line ended='' count=0
  while [[ -z $ended && $count -lt 64 ]]; do
    line='' count=$((count + 1))
    IFS= read -r -n 512 line || ended=1
    __covey_line "$line" || return 1
  done <"$__covey_file"
}

# The rendered file is a list of calls of this: NAME VALUE.
__covey_set() {
  local __covey_now=__covey_now_$1
  __covey_seen+="$1 "
  if [[ ${!__covey_now+x} ]]; then
    # A value that was changed by hand in this shell stays.
    if [[ ! ${!1+x} || ${!1-} != "${!__covey_now}" || ${!1-} == "$2" ]]; then
      return 0
    fi
  else
    if [[ ${!1+x} ]]; then
      local __covey_kind=x
      if [[ ${BASH_VERSINFO[0]} -ge 5 ]]; then
        __covey_kind=${!1@a}
      fi
      case $__covey_kind in
        x) export "__COVEY_WAS_$1=${!1}" ;;
        '') printf -v "__covey_was_$1" %s "${!1}" ;;
        *) return 0 ;;
      esac
    fi
    __covey_names+="$1 "
  fi
  export "$1=$2"
  printf -v "$__covey_now" %s "$2"
}

__covey_drop() {
  local __covey_now=__covey_now_$1 __covey_env=__COVEY_WAS_$1 __covey_own=__covey_was_$1
  if [[ ${!1+x} && ${!1-} == "${!__covey_now-}" ]]; then
    if [[ ${!__covey_env+x} ]]; then
      export "$1=${!__covey_env}"
    elif [[ ${!__covey_own+x} ]]; then
      export -n "$1=${!__covey_own}"
    else
      unset -v "$1"
    fi
  fi
  unset -v "$__covey_now" "$__covey_env" "$__covey_own"
}

__covey_apply() {
  local __covey_name __covey_left=$__covey_names IFS=' '
  for __covey_name in $__covey_left; do
    if [[ $__covey_seen != *" $__covey_name "* ]]; then
      __covey_drop "$__covey_name"
      __covey_names=${__covey_names/" $__covey_name "/ }
    fi
  done
  if [[ $__covey_names == ' ' ]]; then
    unset -v __COVEY_NAMES
  else
    export __COVEY_NAMES=$__covey_names
  fi
}

# A shell inside a shell takes over what the outer one had set.
__covey_inherit() {
  local __covey_name IFS=' '
  for __covey_name in ${__COVEY_NAMES-}; do
    case $__covey_name in
      *[!ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_]*) continue ;;
    esac
    __covey_names+="$__covey_name "
    printf -v "__covey_now_$__covey_name" %s "${!__covey_name-}"
  done
}

__covey_update() {
  local __covey_stamp_now=$1 __covey_before=$__covey_project@$__covey_environment
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
    __covey_choose "$__covey_dir/bash" || return 0
    . "$__covey_chosen" || return 0
  fi
  __covey_apply
  __covey_stamp=$__covey_stamp_now
}

__covey_prompt() {
  local __covey_code=$? __covey_stamp_now=''
  if [[ -r $__covey_dir/stamp ]]; then
    IFS= read -r __covey_stamp_now <"$__covey_dir/stamp" || :
  fi
  if [[ $__covey_stamp_now != "$__covey_stamp" || $PWD != "$__covey_pwd" ||
    $__covey_file -nt $__covey_dir/stamp ]]; then
    __covey_update "$__covey_stamp_now" || :
  fi
  # Under `set -e` a status that was let pass before would end the shell here.
  if [[ $- == *e* ]]; then
    __covey_code=0
  fi
  return "$__covey_code"
}

case "${PROMPT_COMMAND[*]-}" in
  *__covey_prompt*) ;;
  *)
    if [[ ${PROMPT_COMMAND[1]+x} ]]; then
      PROMPT_COMMAND=(__covey_prompt "${PROMPT_COMMAND[@]}")
    else
      PROMPT_COMMAND=__covey_prompt${PROMPT_COMMAND:+$'\n'$PROMPT_COMMAND}
    fi
    ;;
esac
__covey_inherit
__covey_prompt || :

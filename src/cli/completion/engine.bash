# Of `umlsnap completion bash`: reads the words before the cursor as the program does, and offers what may stand there.
# _umlsnap_table VERB, which stands above this, says what there is at a verb.
_umlsnap() {
  local line=${COMP_LINE:0:COMP_POINT} verb= config= position=0 expects= word kind cur
  local verbs options values arguments variadic
  local -a words kinds candidates
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  cur=${words[${#words[@]} - 1]}
  _umlsnap_table ''
  for word in "${words[@]:1:${#words[@]}-2}"; do
    if [[ -n $expects ]]; then
      [[ $expects == -c || $expects == --config ]] && config=$word
      expects=
    elif [[ $word == -* ]]; then
      [[ $values == *" $word="* ]] && expects=$word
    elif [[ -n $verbs ]] && _umlsnap_table "${verb:+$verb }$word"; then
      verb=${verb:+$verb }$word
    else
      position=$((position + 1))
    fi
  done
  read -ra kinds <<<"$arguments"
  if [[ -n $expects ]]; then
    kind=${values#* "$expects"=}
    kind=${kind%% *}
  elif [[ $cur == -* ]]; then
    kind=words:${options// /,}
  elif [[ -n $verbs ]]; then
    kind=words:${verbs// /,}
  else
    [[ -n $variadic ]] && ((position >= ${#kinds[@]})) && position=$((${#kinds[@]} - 1))
    kind=${kinds[position]}
  fi
  COMPREPLY=()
  case $kind in
  words:*) read -ra candidates <<<"$(tr , ' ' <<<"${kind#words:}")" ;;
  guests | snapshots | stores)
    mapfile -t candidates < <(umlsnap ${config:+-c "$config"} __complete "$kind" 2>/dev/null) ;;
  files)
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    return ;;
  esac
  for word in "${candidates[@]}"; do
    [[ $word == "$cur"* ]] || continue
    # What stands before the last break is on the line already.
    if [[ $COMP_WORDBREAKS == *@* && $cur == *@* ]]; then word=${word#"${cur%@*}@"}; fi
    COMPREPLY+=("$word")
  done
}
complete -o nosort -F _umlsnap umlsnap

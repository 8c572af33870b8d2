# Completion of scaem-token(1) for fish; installed as share/fish/vendor_completions.d/scaem-token.fish.

set -l commands register generate rotate obtain introspect revoke unregister list watch whoami status ping \
    fingerprint call
set -l none "not __fish_seen_subcommand_from $commands"

complete -c scaem-token -f

complete -c scaem-token -n $none -a register -d 'register an application and issue its first token'
complete -c scaem-token -n $none -a generate -d 'issue a registered application a token for a further project'
complete -c scaem-token -n $none -a rotate -d "replace an application's token"
complete -c scaem-token -n $none -a obtain -d 'register, generate or rotate, whichever gives a token now'
complete -c scaem-token -n $none -a introspect -d 'say whether a token is active, and what it is good for'
complete -c scaem-token -n $none -a revoke -d "end an application's tokens for a project, or one token"
complete -c scaem-token -n $none -a unregister -d "end an application's registration and all of its tokens"
complete -c scaem-token -n $none -a list -d 'show what tokens there are, never the tokens themselves'
complete -c scaem-token -n $none -a watch -d 'print each change of tokens, one a line, until interrupted'
complete -c scaem-token -n $none -a whoami -d 'say who the daemon takes this caller for'
complete -c scaem-token -n $none -a status -d 'say how the daemon is'
complete -c scaem-token -n $none -a ping -d 'say whether the daemon answers'
complete -c scaem-token -n $none -a fingerprint -d 'say whether it is one of our tokens, and its fingerprint'
complete -c scaem-token -n $none -a call -d 'call any method of the protocol and print its result as JSON'

# Of all commands.
complete -c scaem-token -l socket -r -F -d "the daemon's socket"
complete -c scaem-token -l format -x -a 'json text' -d 'how to print'
complete -c scaem-token -l help -d 'say what there is'
complete -c scaem-token -l version -d 'say which version this is'

# Of some.
complete -c scaem-token -n '__fish_seen_subcommand_from register generate rotate obtain revoke unregister list' \
    -l application -x -d 'which application'
complete -c scaem-token -n '__fish_seen_subcommand_from register generate rotate obtain' -l ttl -x \
    -d 'how long the token lives: 90s, 15m, 12h, 60d'
complete -c scaem-token -n '__fish_seen_subcommand_from rotate obtain' -l grace -x \
    -d 'how long the token that is replaced stays good: 90s, 15m, 12h'
complete -c scaem-token -n '__fish_seen_subcommand_from register generate rotate obtain' -l output -r -F \
    -d 'write the token alone to a file'
complete -c scaem-token -n '__fish_seen_subcommand_from revoke' -l token-file -r -F \
    -d 'end the one token that is in the file'
complete -c scaem-token -n '__fish_seen_subcommand_from list' -l project -x -d 'of this project only'
complete -c scaem-token -n '__fish_seen_subcommand_from list' -l expires-within -x \
    -d 'only tokens that expire within this time, or have expired'
complete -c scaem-token -n '__fish_seen_subcommand_from watch' -l since -x \
    -d 'first what happened after this sequence number'
complete -c scaem-token -n '__fish_seen_subcommand_from status' -l prometheus \
    -d "print the numbers in Prometheus' text format"

# What stands behind a command.
complete -c scaem-token -n '__fish_seen_subcommand_from introspect fingerprint' -F
complete -c scaem-token -n '__fish_seen_subcommand_from call' \
    -a 'register generate rotate introspect revoke unregister list watch whoami status reload ping'

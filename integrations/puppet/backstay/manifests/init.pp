# What the other classes of this module read. It does nothing by itself: declare backstay::agent for that.
#
# @example A site's own class that wraps it
#   class profile::load_balancer (Sensitive[String[1]] $join_token) {
#     class { 'backstay':
#       server      => 'https://backstay.example.com:8443',
#       fingerprint => 'sha256:...',
#       join_token  => $join_token,
#     }
#     contain backstay::agent
#   }
#
# @param node_name
#   Which load balancer of the estate this is.
# @param install_from
#   `package`: a package of the system's; `pip`: into a virtual environment of its own; `none`: it is there already.
# @param source
#   What is installed: a package's name; or for pip a requirement, a wheel's path or its URL.
# @param ensure
#   Of a package: installed, latest or a version.
# @param venv
#   Where pip installs it to.
# @param binary
#   The program. Absent: as `install_from` puts it there.
# @param server
#   Of the server that the agent follows. Absent: none; it works by the estate file alone.
# @param join_token
#   Good once and for a day: `backstay server join-token NODE`. Not needed any more once the agent is enrolled.
# @param ca
#   The server's authority (PEM). This or `fingerprint`.
# @param fingerprint
#   Of that authority, as `backstay server init` prints it: sha256:HEX.
# @param estate
#   The text of the estate file. Absent: no file is managed; an enrolled agent starts from the server's estate.
# @param config_dir
#   Where the estate file is.
# @param state_dir
#   What the agent keeps is below it, in a folder of its node's name.
# @param unit_dir
#   Where systemd finds units.
# @param manage_service
#   Whether systemd runs the agent.
class backstay (
  Backstay::Node                       $node_name      = $facts['networking']['hostname'].downcase,
  Enum['package', 'pip', 'none']       $install_from   = 'package',
  String[1]                            $source         = 'backstay',
  String[1]                            $ensure         = 'installed',
  Backstay::Abspath                    $venv           = '/opt/backstay',
  Optional[Backstay::Abspath]          $binary         = undef,
  Optional[Backstay::Url]              $server         = undef,
  Optional[Sensitive[String[1]]]       $join_token     = undef,
  Optional[String[1]]                  $ca             = undef,
  Optional[Pattern[/\Asha256:[0-9A-Fa-f:]+\z/]] $fingerprint = undef,
  Optional[String[1]]                  $estate         = undef,
  Backstay::Abspath                    $config_dir     = '/etc/backstay',
  Backstay::Abspath                    $state_dir      = '/var/lib/backstay',
  Backstay::Abspath                    $unit_dir       = '/etc/systemd/system',
  Boolean                              $manage_service = true,
) {
  if $server and $ca and $fingerprint {
    fail('backstay: give ca or fingerprint, not both.')
  }
  if $server and !$ca and !$fingerprint {
    fail("backstay: who vouches for ${server}? Give ca (PEM) or fingerprint (sha256:HEX, printed by backstay server init).")
  }
  if !$server and !$estate {
    fail('backstay: give server, or estate (the text of an estate file), or both.')
  }

  $program = $binary ? {
    undef   => $install_from ? { 'pip' => "${venv}/bin/backstay", default => '/usr/bin/backstay' },
    default => $binary,
  }
  $unit = "backstay-agent@${node_name}"
}

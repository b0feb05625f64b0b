# systemd runs the agent.
#
# @api private
class backstay::service {
  if $backstay::manage_service {
    exec { 'backstay: let systemd read the unit':
      command     => ['/usr/bin/systemctl', 'daemon-reload'],
      refreshonly => true,
    }
    ~> service { $backstay::unit:
      ensure => running,
      enable => true,
    }
  }
}

# The program, and its systemd unit as that version prints it.
#
# @api private
class backstay::install {
  case $backstay::install_from {
    'package': {
      package { $backstay::source:
        ensure => $backstay::ensure,
        before => Exec['backstay: write the unit'],
      }
    }
    'pip': {
      $pip = "${backstay::venv}/bin/pip"
      exec { 'backstay: make the virtual environment':
        command => ['/usr/bin/python3', '-m', 'venv', $backstay::venv],
        creates => $pip,
      }
      # What was installed last is written down: a requirement of another version installs that one.
      -> exec { 'backstay: install':
        command => [$pip, 'install', '--no-input', '--upgrade', $backstay::source],
        unless  => [['/usr/bin/grep', '-qxF', $backstay::source, "${backstay::venv}/installed"]],
        timeout => 600,
      }
      -> file { "${backstay::venv}/installed":
        ensure  => file,
        content => "${backstay::source}\n",
        before  => Exec['backstay: write the unit'],
      }
    }
    default: {}
  }

  $unit_file = "${backstay::unit_dir}/backstay-agent@.service"
  exec { 'backstay: write the unit':
    path    => ['/usr/bin', '/bin'],
    command => "sh -c '${backstay::program} agent unit > ${unit_file}.new && mv ${unit_file}.new ${unit_file}'",
    unless  => "sh -c '${backstay::program} agent unit | cmp -s - ${unit_file}'",
  }

  $drop_in = "${backstay::unit_dir}/backstay-agent@.service.d"
  file { $drop_in:
    ensure => directory,
    mode   => '0755',
  }
  file { "${drop_in}/puppet.conf":
    ensure  => file,
    mode    => '0644',
    content => @("UNIT"),
      # By Puppet, class backstay::install.
      [Service]
      ExecStart=
      ExecStart=${backstay::program} agent run --estate ${backstay::config_dir}/backstay.yaml --as %i --state-dir ${backstay::state_dir}/%i
      | UNIT
  }
}

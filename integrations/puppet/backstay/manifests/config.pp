# The estate file, and the enrolment with a server.
#
# @api private
class backstay::config {
  $state = "${backstay::state_dir}/${backstay::node_name}"
  file { $backstay::config_dir:
    ensure => directory,
    mode   => '0755',
  }
  file { [$backstay::state_dir, $state]:
    ensure => directory,
    mode   => '0711', # the engine's unprivileged workers pass through
  }

  if $backstay::estate {
    file { "${backstay::config_dir}/backstay.yaml":
      ensure  => file,
      mode    => '0644',
      content => $backstay::estate,
    }
  }

  if $backstay::server {
    if $backstay::ca {
      file { "${backstay::config_dir}/ca.crt":
        ensure  => file,
        mode    => '0644',
        content => $backstay::ca,
        before  => Exec['backstay: enrol'],
      }
      $vouched = ['--ca', "${backstay::config_dir}/ca.crt"]
    } else {
      $vouched = ['--fingerprint', $backstay::fingerprint]
    }

    # A token is good once: what is left of it here after the enrolment opens nothing.
    $token_file = "${backstay::config_dir}/join-token"
    if $backstay::join_token {
      file { $token_file:
        ensure    => file,
        mode      => '0400',
        content   => $backstay::join_token,
        show_diff => false,
        before    => Exec['backstay: enrol'],
      }
    }
    exec { 'backstay: enrol':
      command => [$backstay::program, 'agent', 'enrol', '--as', $backstay::node_name, '--server', $backstay::server,
      '--state-dir', $state, '--join-token-file', $token_file] + $vouched,
      creates => "${state}/link.json",
      require => File[$state],
    }
  }
}

# The agent on this load balancer: installed, configured, enrolled, running. Its parameters are those of `backstay`.
class backstay::agent {
  include backstay
  contain backstay::install
  contain backstay::config
  contain backstay::service

  Class['backstay::install'] -> Class['backstay::config'] ~> Class['backstay::service']
  # Another version: the agent alone is restarted, the engine serves on.
  Class['backstay::install'] ~> Class['backstay::service']
}

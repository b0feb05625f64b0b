# A level of Hiera: the parameters that people put in force for this node on Backstay's server.
#
# In the environment's hiera.yaml, above all others:
#
#   hierarchy:
#     - name: 'What is temporary'
#       lookup_key: backstay::parameters
#
# They are in $backstay, which Backstay's external node classifier sets (backstay enc). Where it is not the classifier, this
# level is empty.
#
# @param key
#   What is looked up: a class's parameter (nginx::worker_processes), or any other key.
# @param options
#   None.
# @param context
#   Of this lookup.
# @return
#   The value as it was put, without interpolation.
function backstay::parameters(Variant[String, Numeric] $key, Hash $options, Puppet::LookupContext $context) >> Any {
  $set = getvar('::backstay.parameters', {})
  if $key in $set {
    $set[$key]
  } else {
    $context.not_found
  }
}

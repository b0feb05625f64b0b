# An absolute path without what a shell or a systemd unit would read as something else.
type Backstay::Abspath = Pattern[/\A\/[A-Za-z0-9._@+\/-]*\z/]

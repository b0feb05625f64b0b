# A node as the estate names it: one DNS label.
type Backstay::Node = Pattern[/\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z/]

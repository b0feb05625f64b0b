# Where a server is: https alone, since the join token goes there.
type Backstay::Url = Pattern[/\Ahttps:\/\/[A-Za-z0-9.\[\]:-]+\z/]

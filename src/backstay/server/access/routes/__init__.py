"""What people and programs ask of access: login and account, administration, and the same as an API."""

"""The pages, a module a family: what is asked, which view, which template. Nothing is decided here."""

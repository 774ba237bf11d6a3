"""Views and records as text for people: calm tables and plain sentences. `views -> rich renderables`; nothing here asks or decides."""

"""Whom people hear of what: decided at every poll, stored with it, and sent on threads of their own."""

"""Plain data in; sentences, tables and pages out."""

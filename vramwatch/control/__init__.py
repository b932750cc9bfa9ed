"""What people ask of the daemon while it runs, and who carries it out between two polls."""

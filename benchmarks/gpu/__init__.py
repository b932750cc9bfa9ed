"""What a real GPU alone can show, in parts of less than eight minutes; each is rehearsed without one."""

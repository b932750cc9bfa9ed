"""Every poll judged once and in its order: folded, examined, its incidents moved."""

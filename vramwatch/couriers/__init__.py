"""HTTP and mail to whoever may be slow, wrong or hostile: bounded in time and memory."""

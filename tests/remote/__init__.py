"""What is promised between processes and hosts: one suite for all back ends, and what each has of its own."""

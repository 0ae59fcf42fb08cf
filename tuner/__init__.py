"""Pure search library: candidates, search space, statistics. No web, no SQL, no Ansible, no clock of its own."""

"""The field's faults: what each means, who must act, whether to send again, and the remedy."""

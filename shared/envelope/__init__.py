"""Digital envelopes and signatures: CMS in one encoding, streaming, with roles, chains and CRLs proven offline."""

"""Patients: who they are, what they have, how they are split."""

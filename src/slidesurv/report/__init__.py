"""Showing: tables and files in, pages out."""

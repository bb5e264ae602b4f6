"""Prompts as text files, one a version: `NAME.vN.txt`. A file that was released is never changed; a better one is a new version."""

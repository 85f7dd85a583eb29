"""The watch folder: every picture that is put into one folder appears, done, in another.

The supervisor (`supervisor`) sees files by scanning, keeps a ledger and writes outputs; it imports no image or ML
library. Workers (`worker`) decode, run the network and encode, in processes of their own that may die.
"""

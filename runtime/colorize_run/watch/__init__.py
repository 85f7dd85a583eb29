"""The watch folder: every picture that is put into one folder is converted into another.

The supervisor (`supervisor`) scans the folder, keeps a ledger and writes outputs; it imports no image or network library.
Workers (`worker`) decode, run the network and encode, in processes of their own that may die.
"""

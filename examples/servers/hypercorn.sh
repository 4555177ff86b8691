# hypercorn, which has no option for a loop
python -m rloop run -m hypercorn app:app --workers 2

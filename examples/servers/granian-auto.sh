# granian takes rloop by itself where it is installed
granian app:app --interface asgi --workers 2

"""The benchmark: whether the lab's own bookkeeping distorts what it measures, and what each setting costs.

``rounds``      two ways to do the same, in turns: the ratio of each round, and the median of these
``bare``        the loops of every tutorial, which the lab is held against
``throughput``  workers and producer against these
``clients``     other Python clients, where they are installed
``dispatch``    prefetch 1 against the best schedule on paper
``liveview``    what the live view costs
``scale``       from a thousand tasks to a million
``startup``     what a start takes
``costs``       what each setting costs, for lesson 12
``report``      all of it in one run: ``python3 -m labkit bench``
"""

"""The pure core: functions of values, without network and stores; the current time is an argument.

Measures     ``series``, ``windows``, ``documents``, ``packing``, ``totals``, ``tariffs``, ``completeness``,
             ``reasons``, ``consistency``, ``statistics``, ``exports``
A window     ``messages``, ``answers``, ``parsing``, ``comparison``, ``calls``, ``retry``
The fleet    ``schedule``, ``lanes``, ``planning``, ``incident``
People       ``account``, ``consents``, ``connection_request``, ``invitation``, ``access_right``, ``evidence``,
             ``notice``, ``sessions``, ``audit_entry``, ``oauth_proxy``
Others       ``files``, which people download; ``networks``, which may be called; ``clock``
"""

"""The pure core: values in, values out, no network, no store; what time it is comes as an argument.

Measures     ``series``, ``windows``, ``documents``, ``packing``, ``totals``, ``tariffs``, ``completeness``,
             ``reasons``, ``consistency``, ``statistics``, ``exports``
A window     ``messages``, ``answers``, ``parsing``, ``comparison``, ``calls``, ``retry``
The fleet    ``schedule``, ``lanes``, ``planning``, ``incident``
People       ``account``, ``consents``, ``connection_request``, ``invitation``, ``access_right``, ``evidence``,
             ``notice``, ``sessions``, ``audit_entry``, ``oauth_proxy``
Besides      ``files``, which people download; ``networks``, which may be called; ``clock``
"""

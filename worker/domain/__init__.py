"""The pure core: functions that use neither the network nor a store; the current time is an argument.

Measures     ``series``, ``windows``, ``documents``, ``packing``, ``totals``, ``tariffs``, ``completeness``,
             ``reasons``, ``consistency``, ``statistics``, ``exports``
A window     ``messages``, ``answers``, ``parsing``, ``comparison``, ``calls``, ``retry``
The fleet    ``schedule``, ``lanes``, ``planning``, ``incident``
People       ``account``, ``consents``, ``connection_request``, ``invitation``, ``access_right``, ``evidence``,
             ``notice``, ``sessions``, ``audit_entry``, ``oauth_proxy``
Others       ``files`` (files that people download), ``networks`` (addresses that may be called), ``clock``
"""

"""What a user of VPP looks for by name: commands, and messages of ours beside VPP's (vpp_layouts.json has those).

ABSENT_*: features that are not there yet, with what they would bring. Of each, all names are there or none is: a
feature that comes brings all of them, and its entry may then be struck.
"""

COMMANDS = """
    show version, show plugins, show interface, show hardware-interfaces, set interface state, set interface ip address,
    set interface mtu, create tap, create host-interface, create memif socket, create interface memif,
    create loopback interface, delete tap, delete loopback interface, ip route add, ip route del, show ip fib,
    show ip neighbors, ip table add, ip table del, ping, show runtime, clear runtime, show errors, clear errors, show buffers,
    show memory, show threads, show node counters, show graph, trace add, show trace, clear trace, pcap trace rx,
    pcap trace tx, pcap trace drop, pcap trace max, pcap trace file, pcap trace intfc, packet-generator, show session,
    show session verbose, clear session, session enable, session disable, session rule add, session rule del,
    show session rules, session sdl, show app, app ns add, show app ns, show segment-manager, show tcp stats,
    show tcp statistics, show tcp config, set tcp, tcp src-address, show udp, show tls, show quic, show log,
    show event-logger, nsim, perf server, perf client, show http static
"""

ABSENT_COMMANDS = {
    "QUIC": ["show quic"],
}

# Beside VPP's.
MESSAGES = """
    session_dump session_details session_disconnect app_dump app_details app_namespace_set_quota
    app_namespace_set_access app_namespace_dump app_namespace_details tcp_connection_dump tcp_connection_details
    tcp_stats_get udp_port_dump udp_port_details udp_stats_dump udp_stats_details plugin_dump plugin_details plugin_load
    cc_dump cc_details cc_set_default cc_set_connection daemon_drain daemon_drain_status want_drain_events drain_event perf_server_add_del perf_server_dump perf_server_details
    perf_client_run perf_client_stop http_static_server_del http_static_server_dump http_static_server_details
"""

# Requests; their replies and details go with them.
ABSENT_MESSAGES = {
    "a cross connect of the network simulator": ["nsim_cross_connect_enable_disable"],
    "several paths of a route, and what they are chosen by": ["set_ip_flow_hash_v3"],
}

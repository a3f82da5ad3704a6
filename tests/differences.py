"""Differences made by hand: what reports of them are tested with."""

from __future__ import annotations

from kvmgen.difference.model import (
    Attribute,
    Difference,
    Effect,
    FileChange,
    Flow,
    HostChange,
    Impact,
    ObjectChange,
    Place,
    Verb,
)

SAMPLE = Difference(
    before="main",
    after="work tree",
    inventory=(
        FileChange(path="inventory/networks/default.yaml", verb=Verb.CHANGED, diff="@@ -1 +1 @@\n-name: a\n+name: b\n"),
    ),
    hosts=(
        HostChange(
            host="kvm-es",
            platform="el7",
            verb=Verb.CHANGED,
            objects=(
                ObjectChange(
                    kind="network",
                    name="default",
                    verb=Verb.CHANGED,
                    attributes=(
                        Attribute(
                            name="bridge",
                            before="virbr0",
                            after="virbr9",
                            causes=(Place(file="inventory/networks/default.yaml", line=4),),
                        ),
                        Attribute(name="domain", before=None, after="lab.example.org"),
                    ),
                    causes=(Place(file="inventory/networks/default.yaml", line=4, before=True),),
                    impact=Impact(effect=Effect.NETWORK_RESTART, guests=("web01",), needs="--disruptive default"),
                    files=(FileChange(path="libvirt/networks/default.xml", verb=Verb.CHANGED, diff="-<a/>\n+<b/>\n"),),
                ),
                ObjectChange(kind="guest", name="web02", verb=Verb.ADDED, impact=Impact(effect=Effect.LIVE)),
            ),
        ),
        HostChange(host="kvm-new", platform="el9.4", verb=Verb.ADDED),
    ),
    opens=(
        Flow(
            sources=("outside",),
            targets=("web01", "web02"),
            services=("tcp/80", "ping"),
            versions=(4,),
            before="blocked",
            after="delivered",
        ),
    ),
    closes=(
        Flow(
            sources=("web01",),
            targets=("outside",),
            services=("tcp/25",),
            versions=(4, 6),
            before="delivered",
            after="blocked",
            cause=Place(file="inventory/policies/web.yaml", line=3),
            rule="drop out all",
        ),
    ),
)


def filled(text: str) -> Difference:
    """A difference whose every text is this one."""
    place = Place(file=text, line=7)
    files = (FileChange(path=text, verb=Verb.CHANGED, diff=f"-{text}\n+{text}\n"),)
    attributes = (
        Attribute(name=text, before=text, after=text, causes=(place,)),
        Attribute(name=text, before=None, after=text),
    )
    impact = Impact(effect=Effect.GUEST_RESTART, guests=(text, text), needs=text, why=text)
    one = ObjectChange(
        kind="guest",
        name=text,
        verb=Verb.CHANGED,
        attributes=attributes,
        causes=(Place(file=text, line=7, before=True),),
        impact=impact,
        files=files,
    )
    flow = Flow(
        sources=(text,),
        targets=(text, text),
        services=(text,),
        versions=(6,),
        before="blocked",
        after="delivered",
        cause=place,
        rule=text,
        opened_by=place,
        opening_rule=text,
    )
    return Difference(
        before=text,
        after=text,
        inventory=files,
        hosts=(HostChange(host=text, platform=text, verb=Verb.CHANGED, objects=(one, one)),),
        opens=(flow,),
        closes=(flow,),
        other=(flow,),
        notes=(text,),
    )


def large(hosts: int, objects: int) -> Difference:
    """Hosts on which everything changes."""

    def changed(host: int, number: int) -> ObjectChange:
        name = f"web{host:02}{number:03}"
        return ObjectChange(
            kind="guest",
            name=name,
            verb=Verb.CHANGED,
            attributes=(Attribute(name="memory", before="1 GiB", after="2 GiB"),) * 3,
            impact=Impact(effect=Effect.GUEST_RESTART, guests=(name,)),
            files=(FileChange(path=f"libvirt/domains/{name}.xml", verb=Verb.CHANGED, diff="-old\n+new\n" * 20),),
        )

    return Difference(
        before="main",
        after="work tree",
        hosts=tuple(
            HostChange(
                host=f"kvm{host:02}",
                platform="el9",
                verb=Verb.CHANGED,
                objects=tuple(changed(host, number) for number in range(objects)),
            )
            for host in range(hosts)
        ),
    )

"""
Threads that are kept while messages come (RFC 5256 section 3): one more message costs what its own thread costs.

What is linked stays linked, as the algorithm itself goes from one message to the
next; only the threads that a message touches are pruned, gathered by subject and
put in their place again.  Where messages go, everything is to be made anew.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pycyrus.mime.threading import Links, Node, Threaded, in_order
from pycyrus.model.sorting import ThreadAlgorithm


@dataclass(frozen=True, slots=True)
class Edit:
    """
    A thread came to a place, or went from there.

    @ivar place: Among all threads, when the edits before are done.
    @ivar thread: None for one that went.
    """

    place: int
    thread: Node | None


class Forest:
    """
    The threads of all messages so far, by one of the algorithms.

    @ivar messages: All of them, by number.
    """

    def __init__(self, algorithm: ThreadAlgorithm) -> None:
        self.messages: list[Threaded] = []
        self._algorithm = algorithm
        self._links = Links()
        # What is gathered by a subject: trees as they are linked, in no order; a single one without a list.
        self._groups: dict[str, Node | list[Node]] = {}
        # Of threads in order: the number of the message that says where each belongs.
        self._order: list[int] = []

    def __len__(self) -> int:
        return len(self.messages)

    # --- all at once ------------------------------------------------------------

    def fill(self, messages: Sequence[Threaded]) -> list[Node]:
        """
        Take the first messages.

        @return: All threads, in order.
        """
        self.messages = list(messages)
        made: list[Node] = []
        for number, message in enumerate(messages):
            self._link(number, message, made)
        threads = [thread for each in self._gather(made) if (thread := self._finished(each)) is not None]
        anchored = in_order([(self._anchor(thread), thread) for thread in threads], lambda each: self._key(each[0]))
        self._order = [anchor for anchor, _ in anchored]
        return [thread for _, thread in anchored]

    def _gather(self, made: Iterable[Node]) -> Iterator[list[Node]]:
        """Trees in their groups; those that are in none by themselves."""
        for root in made:
            if root.parent is None:
                subject = self._subject(root)
                if subject is None:
                    yield [root]
                else:
                    self._put(subject, root)
        for group in self._groups.values():
            yield group if isinstance(group, list) else [group]

    # --- one by one ---------------------------------------------------------------

    def add(self, message: Threaded) -> list[Edit]:
        """
        Take one more message.

        @return: What changes among the threads.
        """
        number = len(self.messages)
        self.messages.append(message)
        is_linked = self._algorithm is not ThreadAlgorithm.ORDEREDSUBJECT
        touched = self._links.known(message) if is_linked else []
        before = {_root(node): None for node in touched}
        subjects: dict[str, None] = {}
        edits: list[Edit] = []
        alone: list[Node] = []
        for root in before:
            self._note(root, subjects, alone)
        if not is_linked:
            subjects[message.subject] = None
        # What was told of these threads is told no more.
        self._take_out(subjects, alone, edits)
        for root in before:
            subject = self._subject(root)
            if subject is not None:
                self._take(subject, root)
        made: list[Node] = []
        node = self._link(number, message, made)
        after = {_root(each): None for each in (*touched, *before, *made, node)}
        news: dict[str, None] = {}
        alone = []
        for root in after:
            self._note(root, news, alone)
        # A group to which a thread comes is told anew, too.
        self._take_out({subject: None for subject in news if subject not in subjects}, [], edits)
        for root in after:
            subject = self._subject(root)
            if subject is not None:
                self._put(subject, root)
        for group in [[root] for root in alone] + [self._group(subject) for subject in {**subjects, **news}]:
            thread = self._finished(group) if group else None
            if thread is not None:
                anchor = self._anchor(thread)
                place = bisect_left(self._order, self._key(anchor), key=self._key)
                self._order.insert(place, anchor)
                edits.append(Edit(place, thread))
        return edits

    def _note(self, root: Node, subjects: dict[str, None], alone: list[Node]) -> None:
        subject = self._subject(root)
        if subject is None:
            alone.append(root)
        else:
            subjects[subject] = None

    def _take_out(self, subjects: Iterable[str], alone: Iterable[Node], edits: list[Edit]) -> None:
        for group in [[root] for root in alone] + [self._group(subject) for subject in subjects]:
            thread = self._finished(group) if group else None
            if thread is not None:
                place = bisect_left(self._order, self._key(self._anchor(thread)), key=self._key)
                del self._order[place]
                edits.append(Edit(place, None))

    # --- groups of a subject --------------------------------------------------------

    def _group(self, subject: str) -> list[Node]:
        group = self._groups.get(subject)
        if group is None:
            return []
        return group if isinstance(group, list) else [group]

    def _put(self, subject: str, root: Node) -> None:
        group = self._groups.get(subject)
        if group is None:
            self._groups[subject] = root
        elif isinstance(group, list):
            group.append(root)
        else:
            self._groups[subject] = [group, root]

    def _take(self, subject: str, root: Node) -> None:
        left = [each for each in self._group(subject) if each is not root]
        if left:
            self._groups[subject] = left if len(left) > 1 else left[0]
        else:
            self._groups.pop(subject, None)

    def _subject(self, root: Node) -> str | None:
        """By what a tree is gathered with others (step 5); None if it is not."""
        if self._algorithm is ThreadAlgorithm.REFS:
            return None
        first = self._first(root)
        if first is None:
            return None
        subject = self.messages[first].subject
        return subject if subject or self._algorithm is ThreadAlgorithm.ORDEREDSUBJECT else None

    # --- from trees to threads --------------------------------------------------------

    def _link(self, number: int, message: Threaded, made: list[Node]) -> Node:
        if self._algorithm is ThreadAlgorithm.ORDEREDSUBJECT:
            made.append(Node(number))
            return made[-1]
        return self._links.add(number, message, made)

    def _finished(self, group: list[Node]) -> Node | None:
        """What is told of the trees of a group; None if there is no message in them."""
        threads = [thread for root in group if (thread := self._pruned(root)) is not None]
        threads.sort(key=self._sort_key)
        if len(threads) <= 1:
            return threads[0] if threads else None
        if self._algorithm is ThreadAlgorithm.ORDEREDSUBJECT:
            return Node(threads[0].message, children=threads[1:])
        return self._merged(threads)

    def _pruned(self, root: Node) -> Node | None:
        """Steps 3, 4 and 6: a copy without places that are of no use, siblings in order."""
        if not root.children:
            return None if root.message is None else root
        kept: dict[Node, list[Node]] = {}
        order = [root]
        for node in order:
            order.extend(node.children)
        for node in reversed(order):
            children = [each for child in node.children for each in kept.pop(child)]
            children.sort(key=self._sort_key)
            if node.message is not None:
                kept[node] = [Node(node.message, children=children) if children else Node(node.message)]
            else:
                kept[node] = [Node(children=children)] if node is root and len(children) > 1 else children
        found = kept[root]
        return found[0] if found else None

    def _merged(self, threads: list[Node]) -> Node:
        """Step 5: threads of a subject as one, whose first one is the earliest that is no reply."""
        table = threads[0]
        for thread in threads[1:]:
            if (thread.message is None and table.message is not None) or (
                table.message is not None and self._is_reply(table) and not self._is_reply(thread)
            ):
                table = thread
        whole = Node(table.message, children=list(table.children))
        for thread in threads:
            if thread is table:
                continue
            if thread.message is None and whole.message is None:
                whole.children += thread.children
            elif whole.message is None or (self._is_reply(thread) and not self._is_reply(whole)):
                whole.children.append(thread)
            else:
                # Neither answers the other: both are below a new place.
                whole = Node(children=[whole, thread])
        return self._sorted(whole)

    def _sorted(self, whole: Node) -> Node:
        for node in (*whole.children, whole):
            node.children.sort(key=self._sort_key)
        return whole

    def _is_reply(self, thread: Node) -> bool:
        first = self._first(thread)
        return first is not None and self.messages[first].is_reply

    def _first(self, root: Node) -> int | None:
        """The message that stands for a tree: its own, or that of its earliest child."""
        if root.message is not None:
            return root.message
        thread = self._pruned(root)
        while thread is not None and thread.message is None:
            thread = thread.children[0]
        return None if thread is None else thread.message

    # --- order ------------------------------------------------------------------------

    def _anchor(self, thread: Node) -> int:
        """The message that says where a thread belongs: the first one, or for REFS the newest."""
        if self._algorithm is not ThreadAlgorithm.REFS:
            while thread.message is None:
                thread = thread.children[0]
            return thread.message
        waiting, numbers = [thread], []
        for node in waiting:
            waiting.extend(node.children)
            if node.message is not None:
                numbers.append(node.message)
        return max(numbers, key=self._key)

    def _sort_key(self, thread: Node) -> tuple[int, int]:
        while thread.message is None:
            thread = thread.children[0]
        return self._key(thread.message)

    def _key(self, number: int) -> tuple[int, int]:
        return self.messages[number].date, number


def _root(node: Node) -> Node:
    while node.parent is not None:
        node = node.parent
    return node

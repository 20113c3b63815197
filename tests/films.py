"""What the live view draws, kept to be looked at."""

import threading


class Film:
    """A screen that keeps every picture."""

    def __init__(self):
        self.scenes, self.last = [], None
        self.began = threading.Event()

    def draw(self, scene, text):
        self.scenes.append(scene)

    def end(self, scene, text):
        self.last = scene


def words(scene):
    return [word[3] for word in scene["words"]]


def panels(scene):
    return [panel[4] for panel in scene["panels"]]

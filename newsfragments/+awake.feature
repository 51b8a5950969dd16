Workers whose clients ask in quick succession stay awake between two commands: twice as many short commands a second on one connection in a virtual machine.

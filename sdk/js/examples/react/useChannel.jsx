// A hook that follows a channel, and a component that uses it.
import { useEffect, useState } from 'react'
import { Chappe } from '@chappe/client'

const client = new Chappe('http://127.0.0.1:8080')

/** The newest `last` messages of a channel, and how many were lost. */
export function useChannel(name, last = 20) {
  const [messages, setMessages] = useState([])
  const [lost, setLost] = useState(0)
  useEffect(() => {
    setMessages([])
    setLost(0)
    const channel = client.channel(name).rewind(last)
    channel.on('message', (m) => setMessages((all) => [...all, m].slice(-last)))
    channel.on('gap', (g) => setLost((n) => n + (g.count || 1)))
    return () => channel.close()
  }, [name, last])
  return { messages, lost, publish: (data) => client.publish(name, data) }
}

export function Chat({ room }) {
  const { messages, lost, publish } = useChannel(`chat.${room}`)
  return (
    <form action={(form) => publish({ text: form.get('text') })}>
      {lost > 0 && <p>{lost} messages were lost</p>}
      <ul>{messages.map((m) => <li key={m.stamp}>{m.data.text}</li>)}</ul>
      <input name="text" />
    </form>
  )
}
